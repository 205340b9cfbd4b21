#!/usr/bin/env bash
# What each kind of knowledge, mode and student brings, over seeds 0 to N - 1: exp/an4/compare.md and compare.json.
#   --seeds N    how many seeds (default 1); recipes/an4/run.sh runs first for each
# Other options are those of `asr-kd compare`, such as --only ROW ..., --jobs N, --dry-run.
name=an4
let=('graph={exp}/transcripts/graph/second_teacher')
let+=('lm={exp}/manifests/labelled.jsonl {exp}/transcripts/second_teacher/hyp.jsonl --classes manifests/an4_classes.txt')
title="AN4, 20% of the speakers labelled"
. "$(dirname "$0")/../compare.sh"
