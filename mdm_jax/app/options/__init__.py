"""What commands are told, and what that means."""
