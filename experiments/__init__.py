"""One module per claim: ``python -m experiments NAME [--quick]`` writes results.json, a picture and a verdict."""
