"""What a database's password must be: long, hard to guess, and on no list.

PostgreSQL cannot check it: what reaches a server is a verifier, which tells nothing. The rules are
ours to hold, then, before a password is used or made a verifier of. There are none about kinds of
characters, which make passwords worse: length and an estimate say more.
"""

import re
from collections.abc import Iterable, Iterator

LENGTH_MIN = 16
_SCORE_MIN = 3
# zxcvbn refuses to look at more, as its time grows by the square; one that is good so far is good.
_SCORED_LENGTH = 72
# Of a password that holds the name of its user, this much must be something else.
_OWN_LENGTH_MIN = 10
# Shorter ones, such as "a" or "app", are in good passwords by chance.
_NAME_LENGTH_MIN = 4

# Long enough, and so well known that an estimate from English words thinks too well of them; as
# they are once case, spaces, punctuation and the digits at the end are taken away.
_LISTED = """
abcdefghijklmnop abcdefghijklmnopqrstuvwxyz administratorpassword averysecretpassword
changethispassword changethistosomethingsecure changemechangeme changemeinproduction
correctbatteryhorsestaple correcthorsebatterystaple databasepassword defaultpassword
donotusethisinproduction enterpasswordhere examplepassword flagstonepassword
flagstonesecretpassword hunterhunterhunter iamtheadministrator insertpasswordhere
itsasecrettoeverybody letmeinletmeinletmein longsecurepassword mydatabasepassword
mypostgrespassword mysecretpassword mysupersecretpassword mysupersecurepassword notarealpassword
passwordforpostgres passwordofthedatabase passwordpassword passwordpasswordpassword pleasechangeme
pleasechangethispassword pleasechangethis postgrespassword postgrespostgres postgresqlpassword
productionpassword qwertyuiopasdfgh qwertyuiopasdfghjkl qwertyuiopasdfghjklzxcvbnm
replacethispassword replacewithyourpassword secretsecretsecret setastrongpasswordhere
someverylongpassword somesecurepassword stagingpassword strongpasswordhere superlongpassword
supersecretpassword supersecurepassword supersecuredatabasepassword theansweriseverything
thequickbrownfox thequickbrownfoxjumpsoverthelazydog thisisabadpassword thisisalongpassword
thisisapassword thisisasecret thisisasecretpassword thisisasecurepassword thisisastrongpassword
thisisaverylongpassword thisisnotapassword thisisnotasecret thisismypassword topsecretpassword
usesomethingbetter verysecretpassword verysecurepassword verystrongpassword yourdatabasepassword
yourpasswordhere yoursecretpassword yourstrongpassword yourstrongpasswordhere
yoursupersecretpassword
"""
_KNOWN_BAD = frozenset(_LISTED.split())
# What stands for a letter in the passwords of people who were told to use digits.
_LETTERS = str.maketrans("013457@$!", "oleastasi")
_NO_LETTER = re.compile(r"[\W_]+")


def broken_rules(password: str, names: Iterable[str] = ()) -> Iterator[str]:
    """Yield each rule that the password breaks, and nothing of it; `names` are its user, say.

    Takes milliseconds, however long it is; seconds at the most, for 72 of those characters that can
    stand for letters.
    """
    if len(password) < LENGTH_MIN:
        yield f"must have at least {LENGTH_MIN} characters"
    bare = _bare(password)
    if bare in _KNOWN_BAD or _bare(bare.translate(_LETTERS)) in _KNOWN_BAD:
        yield "must not be one that everybody knows"
    words = {word for name in names for word in (name.lower(), *_NO_LETTER.split(name.lower()))}
    if _is_made_of(password.lower(), words):
        yield "must not be made of the name of the user or the database"
    if _score(password, words) < _SCORE_MIN:
        yield "must be harder to guess"


def _bare(text: str) -> str:
    """Return it in lower case, without punctuation, and without the digits that people append."""
    return _NO_LETTER.sub("", text.casefold()).rstrip("0123456789")


def _is_made_of(password: str, words: Iterable[str]) -> bool:
    left = password
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _NAME_LENGTH_MIN:
            left = left.replace(word, "")
    return left != password and len(_bare(left)) < _OWN_LENGTH_MIN


def _score(password: str, words: Iterable[str]) -> int:
    # Not at the top: 20 ms and some memory, which whoever has nothing to check is spared.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    if not password:
        return 0
    score: int = zxcvbn(password[:_SCORED_LENGTH], user_inputs=sorted(words))["score"]
    return score
