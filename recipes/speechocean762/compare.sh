#!/usr/bin/env bash
# What each kind of knowledge, mode and student brings: exp/speechocean762/compare.md, compare.json and results.jsonl.
#   --seeds N         how many seeds (default 1); recipes/speechocean762/run.sh runs first for each
#   --first-seed M    seeds M to M + N - 1 (default 0): machines can share the seeds out, `asr-kd experiment --merge-results` joins them
# Other options are those of `asr-kd experiment`, such as --only ROW ..., --jobs N, --dry-run, --merge-results FILE ... (what was
# measured already, such as docs/measured/*.jsonl, is not run again).
name=speechocean762
let=('teacher={preset: teacher-small, dropout: 0.3}' 'pairs={layer0: layer0, layer1: layer1}')
let+=('shallow={preset: teacher-small, num_layers: 1, dropout: 0.3}')
title="speechocean762"
. "$(dirname "$0")/../compare.sh"
