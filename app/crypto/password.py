"""Check that a database password is long, hard to guess, and on no list of known passwords.

PostgreSQL cannot check it, because the server only receives a verifier. So we check it before use.
There are no rules about kinds of characters: they make passwords worse than a minimum length and an
estimate of strength.
"""

import re
from collections.abc import Iterable, Iterator

LENGTH_MIN = 16
_SCORE_MIN = 3
# zxcvbn refuses longer input, because its time grows with the square. A good prefix is enough.
_SCORED_LENGTH = 72
# A password that contains the name of its user must have this many other characters.
_OWN_LENGTH_MIN = 10
# Shorter names, for example "a" or "app", occur in good passwords by chance.
_NAME_LENGTH_MIN = 4

# Well-known passwords that are long enough, and that the estimate rates too high. They are listed
# without case, spaces, punctuation and final digits.
LISTED = """
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
KNOWN_BAD = frozenset(LISTED.split())
# Digits and signs that commonly replace letters.
_LETTERS = str.maketrans("013457@$!", "oleastasi")
_NO_LETTER = re.compile(r"[\W_]+")


def broken_rules(password: str, names: Iterable[str] = ()) -> Iterator[str]:
    """Yield each rule that the password breaks; `names` are those of its user and database.

    Takes milliseconds for any length, and seconds at most, for 72 characters that replace letters.
    """
    if len(password) < LENGTH_MIN:
        yield f"must have at least {LENGTH_MIN} characters"
    bare = _bare(password)
    if bare in KNOWN_BAD or _bare(bare.translate(_LETTERS)) in KNOWN_BAD:
        yield "must not be a well-known password"
    words = {word for name in names for word in (name.lower(), *_NO_LETTER.split(name.lower()))}
    if _consists_of(password.lower(), words):
        yield "must not consist of the name of the user or the database"
    if _score(password, words) < _SCORE_MIN:
        yield "must be harder to guess"


def _bare(text: str) -> str:
    """Return the text in lower case, without punctuation and final digits."""
    return _NO_LETTER.sub("", text.casefold()).rstrip("0123456789")


def _consists_of(password: str, words: Iterable[str]) -> bool:
    left = password
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _NAME_LENGTH_MIN:
            left = left.replace(word, "")
    return left != password and len(_bare(left)) < _OWN_LENGTH_MIN


def _score(password: str, words: Iterable[str]) -> int:
    # Imported here, because it costs 20 ms and memory, and most commands check no password.
    from zxcvbn import zxcvbn  # noqa: PLC0415

    if not password:
        return 0
    score: int = zxcvbn(password[:_SCORED_LENGTH], user_inputs=sorted(words))["score"]
    return score
