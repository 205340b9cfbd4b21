"""asr_kd: semi-supervised speech recognition by a teacher that labels and a student that learns from it."""

__version__ = "0.3.0"
