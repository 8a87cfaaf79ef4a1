"""Porter's stemmer (1980) with its author's later changes, as in Lucene's PorterStemFilter.

Vocabulary:
    shape      a word with every vowel written `v` and every consonant `c`; `y` is a vowel after a consonant;
    measure    the number of vowel-consonant sequences in a stem: Porter's m.

Rules:
    - Words of one or two letters are unchanged.
    - Martin Porter's extensions to the paper: `bli -> ble` (for `abli -> able`) and `logi -> log` in step 2.
    - In each step only the first listed suffix that matches is considered, whether or not its condition holds.
    - Any character other than a, e, i, o, u and y counts as a consonant, digits and other alphabets included.

Source: Porter, "An algorithm for suffix stripping", 1980; rules of steps 1 to 5 in that order.
"""

from __future__ import annotations

_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
)
_STEP_3 = (("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""))
_STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "sion", "tion"),
    *("ou", "ism", "ate", "iti", "ous", "ive", "ize"),
)


def stem(word: str) -> str:
    """Return the stem of a lower-case word.

    Example: `stem("relational")` gives `"relat"`, `stem("possibly")` gives `"possibl"`.
    """
    if len(word) < 3:
        return word
    word = _step_1(word)
    if len(word) < 2:
        return word
    word = _replace(word, _STEP_2)
    word = _replace(word, _STEP_3)
    return _step_5(_step_4(word))


def _shape(word: str) -> str:
    shape: list[str] = []
    before = "v"
    for letter in word:
        before = "v" if letter in "aeiou" or (letter == "y" and before == "c") else "c"
        if letter == "y" and not shape:
            before = "c"
        shape.append(before)
    return "".join(shape)


def _measure(word: str) -> int:
    return _shape(word).count("vc")


def _has_vowel(word: str) -> bool:
    return "v" in _shape(word)


def _ends_short(word: str) -> bool:
    """Return Porter's condition *o: the stem ends with consonant, vowel, consonant, and the last is not w, x or y."""
    return word[-1:] not in "wxy" and _shape(word).endswith("cvc")


def _step_1(word: str) -> str:
    if word.endswith("s"):
        if word.endswith("sses"):
            word = word[:-2]
        elif word.endswith("ies"):
            word = word[:-3] + "i"
        elif not word.endswith("ss"):
            word = word[:-1]
    if word.endswith("eed"):
        if _measure(word[:-3]) > 0:
            word = word[:-1]
    elif word.endswith("ed") and _has_vowel(word[:-2]):
        word = _restore(word[:-2])
    elif word.endswith("ing") and _has_vowel(word[:-3]):
        word = _restore(word[:-3])
    if word.endswith("y") and _has_vowel(word[:-1]):
        word = word[:-1] + "i"
    return word


def _restore(word: str) -> str:
    """Fix the end of a stem after -ed or -ing was removed."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c":
        return word if word[-1] in "lsz" else word[:-1]
    if _measure(word) == 1 and _ends_short(word):
        return word + "e"
    return word


def _replace(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    for suffix, replacement in rules:
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + replacement if _measure(rest) > 0 else word
    return word


def _step_4(word: str) -> str:
    for suffix in _STEP_4:
        if word.endswith(suffix):
            rest = word[: -len(suffix)] + (suffix[0] if suffix in ("sion", "tion") else "")
            return rest if _measure(rest) > 1 else word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    if word.endswith("ll") and _measure(word) > 1:
        word = word[:-1]
    return word
