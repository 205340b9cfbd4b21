"""What a student can learn from a teacher: one kind a file, registered in `kinds`."""
