"""Teachers that listen to each batch beside the student: one mode a file, registered in `kinds`."""
