"""Strategies by the name in train.strategy.kind."""

from asr_kd.train.strategies.allreduce import AllReduce
from asr_kd.train.strategies.bmuf import Bmuf
from asr_kd.train.strategies.powersgd import PowerSGD
from asr_kd.train.strategies.strategy import Strategy
from asr_kd.train.strategies.threshold import Threshold
from asr_kd.train.strategies.tree import Tree

STRATEGIES: dict[str, type[Strategy]] = {
    "allreduce": AllReduce,
    "tree": Tree,
    "bmuf": Bmuf,
    "threshold": Threshold,
    "powersgd": PowerSGD,
}
