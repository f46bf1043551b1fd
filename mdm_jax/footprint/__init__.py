"""What a step would take: bytes, operations, and the compiler's word."""
