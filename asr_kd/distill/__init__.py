"""The student learns from the teacher: declared schedules of labelled and unlabelled sub-epochs."""
