#!/usr/bin/env bash
# What each kind of knowledge, mode and student brings, over seeds 0 to N - 1: exp/speechocean762/compare.md and compare.json.
#   --seeds N    how many seeds (default 1); recipes/speechocean762/run.sh runs first for each
# Other options are those of `asr-kd compare`, such as --only ROW ..., --jobs N, --dry-run.
name=speechocean762 let=('graph={exp}/graph') title="speechocean762"
. "$(dirname "$0")/../compare.sh"
