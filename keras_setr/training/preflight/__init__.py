"""What a run needs, told before its first step."""
