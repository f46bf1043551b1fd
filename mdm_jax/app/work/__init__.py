"""What the commands do once their options are read: each module one piece of work, shared where several need it."""
