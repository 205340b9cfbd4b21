"""Scripts that read the same shards with other toolkits, run by the Python of an environment that has them.

SCRIPT FOLDER TAR ... loads all of the tars once for each line on stdin, on one thread, and answers with a line of JSON:
seconds, and seconds of audio. They import nothing of asr_kd. FOLDER: an empty one for what a toolkit needs to prepare.
"""
