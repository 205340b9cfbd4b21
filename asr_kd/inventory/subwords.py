"""Pieces of words, found by how often they occur: sentencepiece's unigram model.

Source: Kudo, "Subword regularization" (2018). Only the list of pieces is kept, not the model: `Tokens` spells a word in
the fewest of them, so that nothing but the inventory is needed to read what a model says.
"""

import io
from collections.abc import Sequence

from asr_kd.core.extras import how_to_install
from asr_kd.inventory.tokens import SPACE

LONGEST_SENTENCE_BYTES = 1 << 16
"""Longer sentences are left out by sentencepiece."""


def train_pieces(sentences: Sequence[str], size: int) -> list[str]:
    """At most about `size` pieces of the words of normalised sentences, every single character among them, sorted.

    Little text may have fewer.  ValueError when `size` does not even hold the characters, or sentencepiece is missing.
    """
    try:
        import sentencepiece  # an extra
    except ImportError:
        raise ValueError(f"--type unigram: the library sentencepiece is missing. {how_to_install('pieces')}") from None
    characters = {SPACE, *"".join(sentences).replace(" ", "")}
    if size < len(characters):
        raise ValueError(f"--size {size}: the text has {len(characters)} characters, each of which is needed.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type="unigram",
            vocab_size=size + 1,  # sentencepiece counts its <unk>
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            bos_id=-1,
            eos_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as e:
        raise ValueError(f"--type unigram: sentencepiece finds no pieces ({' '.join(str(e).split())}).") from None
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    numbers = (n for n in range(processor.get_piece_size()) if not processor.is_unknown(n))
    return sorted({processor.id_to_piece(n) for n in numbers} | characters)
