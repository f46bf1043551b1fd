"""Pictures: charts and landscapes, how they look, how they are saved."""
