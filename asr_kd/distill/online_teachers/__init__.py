"""Teachers that are run on each training batch, one mode a file; `registry` has their names."""
