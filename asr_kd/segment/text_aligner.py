"""Which words of a recording's text were said in each of its segments, by an acoustic model.

Each segment is recognised with a language model of the recording's own text, and what is recognised is matched with the
text. Where two segments meet and the match leaves open which of them has a word, forced alignments decide. The idea of
the first step is that of Kaldi's segment_long_utterances (Manohar, Povey and Khudanpur, "JHU Kaldi system for Arabic
MGB-3 ASR challenge using diarization, audio-transcript alignment and transfer learning", ASRU 2017).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from asr_kd.align.flat_start import FORCED
from asr_kd.corpora.audio import read_audio
from asr_kd.corpora.manifest import Utterance
from asr_kd.corpora.segments import Segment
from asr_kd.corpora.text import normalise
from asr_kd.graph.ctc import token_graph
from asr_kd.graph.hclg import TextGraphs, decoding_graph
from asr_kd.graph.ngram import train_ngram
from asr_kd.graph.scales import DecodingScales
from asr_kd.graph.search import Decoder, SearchConfig
from asr_kd.inventory.lexicon import Lexicon
from asr_kd.inventory.registry import require_senones
from asr_kd.inventory.senones import Senones
from asr_kd.inventory.tokens import Tokens
from asr_kd.segment.text_aligner_config import TextAlignerConfig
from asr_kd.segment.word_matching import Matched, match_words
from asr_kd.teachers.inference import Inference
from asr_kd.teachers.registry import load_models

if TYPE_CHECKING:  # `asr_kd.graph` imports it in the one order that does not hang
    import kaldifst

WINDOW_WORDS = 10
"""A segment may begin at any word: the language model learns the text from windows of so many words."""
ORDER = 4


class _Scorer(Protocol):
    """A model's classes at work on the words of a text."""

    def prepare(self, words: Sequence[str]) -> set[str]:
        """Those of the next text's words that can be said."""
        ...

    def graph(self, arpa: Path) -> tuple["kaldifst.StdVectorFst", list[str]]:
        """A decoding graph of these words, and the words by number."""
        ...

    def cost(self, words: Sequence[str], score_TC: np.ndarray) -> float:
        """Nats of a forced alignment; infinite where it is not possible."""
        ...


class TextAligner:
    """Not for two threads at once."""

    def __init__(self, config: TextAlignerConfig) -> None:
        """ValueError when model and lexicon do not belong together."""
        self._config = config
        models = [Path(m) for m in config.model]
        self._inference = Inference(load_models(models), torch.device("cpu"), "float32")
        inventory = self._inference.model.inventory
        default = DecodingScales(prior=inventory.default_prior_scale)
        self._scales = default if config.scales is None else DecodingScales.load(config.scales)
        self._log_prior_C = self._inference.model.log_prior_C.cpu().numpy()
        self._scorer: _Scorer
        if isinstance(inventory, Tokens):
            self._scorer = TokenScorer(inventory)
        else:
            if config.lexicon is None:
                raise ValueError(f"{models[0]}: is a model of senones. Give its pronunciations with --lexicon.")
            senones = require_senones(inventory, models[0])
            self._scorer = SenoneScorer(senones, Lexicon.read(config.lexicon))

    def texts(self, recording: Utterance, segments: Sequence[Segment]) -> list[Matched]:
        """The words of each segment, or why it has none.  ValueError when the recording's text has no word."""
        words = normalise(recording.text or "", self._config.language).split()
        known = self._scorer.prepare(words)
        if not known:
            raise ValueError("no word of its text has a pronunciation")
        decoder, names = self._decoder(words, known)
        recognised = []
        for segment in segments:
            score_TC = self.score(recording, segment)
            path = decoder.best(score_TC) if len(score_TC) else None
            recognised.append([] if path is None else [names[w] for w in path.words])
        costs = _Costs(self, recording, segments)
        return match_words(words, recognised, costs, self._config.max_word_errors)

    def _decoder(self, words: Sequence[str], known: set[str]) -> tuple[Decoder, list[str]]:
        windows = (words[n : n + WINDOW_WORDS] for n in range(max(1, len(words) - WINDOW_WORDS // 2)))
        with tempfile.TemporaryDirectory() as folder:
            arpa = Path(folder) / "text.arpa"
            train_ngram(windows, known, ORDER).write_arpa(arpa)
            fst, names = self._scorer.graph(arpa)
        return Decoder(fst, SearchConfig()), names

    def score(self, recording: Utterance, segment: Segment) -> np.ndarray:
        """Scaled log-likelihoods of a segment's frames, (T, C). One at a time: others change nothing."""
        wave_N = read_audio(
            recording.audio_filepath, recording.offset + segment.start_s, segment.end_s - segment.start_s
        )
        log_p_TC = self._inference.scores([wave_N], prior_scale=0.0)[0]
        return self._scales.apply(log_p_TC, self._log_prior_C)

    def cost(self, words: Sequence[str], score_TC: np.ndarray) -> float:
        """Nats of a forced alignment of words in frames."""
        return self._scorer.cost(words, score_TC)


class _Costs:
    """Costs of words in the segments of one recording; the scores of the latest segments are kept."""

    KEPT = 6

    def __init__(self, aligner: TextAligner, recording: Utterance, segments: Sequence[Segment]) -> None:
        self._aligner, self._recording, self._segments = aligner, recording, segments
        self._scores: dict[int, np.ndarray] = {}

    def __call__(self, segment: int, words: Sequence[str]) -> float:
        if segment not in self._scores:
            while len(self._scores) >= self.KEPT:
                self._scores.pop(next(iter(self._scores)))
            self._scores[segment] = self._aligner.score(self._recording, self._segments[segment])
        return self._aligner.cost(words, self._scores[segment])


class SenoneScorer:
    """Of models of senones, by their pronunciations."""

    def __init__(self, inventory: Senones, lexicon: Lexicon) -> None:
        self._inventory, self._given = inventory, lexicon

    def prepare(self, words: Sequence[str]) -> set[str]:
        lexicon, _ = self._given.extended(words)
        phones = set(self._inventory.phones)
        pronunciations = {
            word: [p for p in lexicon.pronunciations[word] if phones.issuperset(p)]
            for word in set(words)
            if word in lexicon
        }
        self._lexicon = Lexicon({word: prons for word, prons in pronunciations.items() if prons})
        if self._lexicon.words:
            self._graphs = TextGraphs(self._inventory, self._lexicon)
        return set(self._lexicon.words)

    def graph(self, arpa: Path) -> tuple["kaldifst.StdVectorFst", list[str]]:
        return decoding_graph(self._inventory, self._lexicon, arpa)

    def cost(self, words: Sequence[str], score_TC: np.ndarray) -> float:
        if not words:
            return -float(score_TC[:, list(self._inventory.silence_classes)].max(1, initial=-np.inf).sum())
        if not len(score_TC) or any(word not in self._lexicon for word in words):
            return float("inf")
        path = Decoder(self._graphs.compile(words), FORCED).best(score_TC)
        return path.cost if path is not None and path.complete else float("inf")


class TokenScorer:
    """Of CTC models, by how their tokens spell."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def prepare(self, words: Sequence[str]) -> set[str]:
        known = set()
        for word in set(words):
            try:
                self._tokens.tokenise_word(word)
            except ValueError:
                continue
            known.add(word)
        self._known = known
        return known

    def graph(self, arpa: Path) -> tuple["kaldifst.StdVectorFst", list[str]]:
        return token_graph(self._tokens, sorted(self._known), arpa)

    def cost(self, words: Sequence[str], score_TC: np.ndarray) -> float:
        """CTC's: all alignments together."""
        if not len(score_TC) or any(word not in self._known for word in words):
            return float("inf")
        if not words:
            return -float(score_TC[:, 0].sum())
        targets = torch.tensor([self._tokens.encode(" ".join(words))])
        log_p_T1C = torch.from_numpy(np.ascontiguousarray(score_TC))[:, None]
        lengths = torch.tensor([len(score_TC)]), torch.tensor([targets.shape[1]])
        return float(torch.nn.functional.ctc_loss(log_p_T1C, targets, *lengths, reduction="sum"))
