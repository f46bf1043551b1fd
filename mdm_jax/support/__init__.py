"""What every floor stands on: errors, files, progress."""
