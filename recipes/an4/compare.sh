#!/usr/bin/env bash
# What each kind of knowledge, mode and student brings: exp/an4/compare.md, compare.json and results.jsonl.
#   --seeds N         how many seeds (default 1); recipes/an4/run.sh runs first for each
#   --first-seed M    seeds M to M + N - 1 (default 0): machines can share the seeds out, `asr-kd experiment --merge-results` joins them
# Other options are those of `asr-kd experiment`, such as --only ROW ..., --jobs N, --dry-run, --merge-results FILE ... (what was
# measured already, such as docs/measured/*.jsonl, is not run again).
name=an4
let=('graph={exp}/transcripts/graph/second_teacher')
let+=('lm={exp}/manifests/labelled.jsonl {exp}/transcripts/second_teacher/hyp.jsonl --word-classes manifests/an4_classes.txt')
title="AN4, 20% of the speakers labelled"
. "$(dirname "$0")/../compare.sh"
