"""Words of the generated sample corpus: embeddings of a made-up vocabulary, without any letters;
and sentences, for whoever has a text encoder.
"""

from functools import cache

import numpy as np

WORD_DIMENSION = 200
WORDS_PER_TOPIC = 8
FILLER_WORDS = 40
SHORTEST, LONGEST = 3, 12  # words a clip
TOPICAL_SHARE = 0.4  # of the words of a clip that has a topic; at least one
# The language is the same in every corpus, as that of a published embedding would be.
VOCABULARY_SEED = 200
SENTENCES = {
    "joy": ("What a {} day it was!", "I am so {} that you came.", "We laughed, it was {}."),
    "threat": ("Keep away, this is {}.", "They shouted, it was {}.", "Stop it, that is {}!"),
    "loss": ("It is gone, and I feel {}.", "She never came back, how {}.", "All is lost, all {}."),
    "plain": ("The bus leaves at {}.", "The table stands by the {}.", "Please turn to page {}."),
    "news": ("Look, a {} out of nowhere!", "I never knew it was a {}.", "Suddenly, a {}!"),
}
FILLED_BY = {
    "joy": ("wonderful", "happy", "lovely", "bright", "great"),
    "threat": ("dangerous", "terrible", "wrong", "violent", "frightening"),
    "loss": ("empty", "sad", "lonely", "broken", "miserable"),
    "plain": ("nine", "window", "seven", "door", "twelve"),
    "news": ("surprise", "stranger", "miracle", "secret", "visitor"),
}
FILLERS = ("Well, you know.", "Let me see now.", "As I said before.", "And so on.", "Yes, yes.")


def sentence(topic: str | None, generator: np.random.Generator) -> str:
    """What a clip's words say in letters; a filler for a clip whose words tell nothing."""
    if topic is None:
        return str(generator.choice(FILLERS))
    form, word = generator.choice(SENTENCES[topic]), generator.choice(FILLED_BY[topic])
    return f"{generator.choice(FILLERS)} {form.format(word)}"


@cache
def _vocabulary(topic: str | None) -> np.ndarray:
    """Embeddings of the words of a topic, None for filler words: float32 (words, 200)."""
    key = [VOCABULARY_SEED, *(topic or "").encode()]
    count = FILLER_WORDS if topic is None else WORDS_PER_TOPIC
    words = np.random.default_rng(key).normal(0, 0.4, (count, WORD_DIMENSION))
    return words.astype(np.float32)


def say(topic: str | None, generator: np.random.Generator) -> np.ndarray:
    """The words of one clip, some about ``topic`` among fillers that belong to no topic.

    Args:
        topic: name of the topic; None for a clip whose words tell nothing.
        generator: draws how many words, which, and where.

    Returns:
        float32 (words, 200), 3 to 12 words.
    """
    count = int(generator.integers(SHORTEST, LONGEST + 1))
    words = _vocabulary(None)[generator.integers(0, FILLER_WORDS, count)]
    if topic is None:
        return words
    topical = max(1, round(TOPICAL_SHARE * count))
    places = generator.permutation(count)[:topical]
    words[places] = _vocabulary(topic)[generator.integers(0, WORDS_PER_TOPIC, topical)]
    return words
