import pytest

from ernie_ray.tasks.word_tokens import word_tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As word_tokenize of NLTK 3.10.4 gave them, with its English model of sentences.
        ('"rafinesquia" nutt.', "`` rafinesquia '' nutt ."),
        ("king ottokar's sceptre", "king ottokar 's sceptre"),
        ("h. e. sauvage", "h. e. sauvage"),
        ("£147,000", "£147,000"),
        (".mac", ".mac"),
        ("166°c", "166°c"),
        ("5.56×45mm nato6.8mm spc", "5.56×45mm nato6.8mm spc"),
        ('"later ... with jools holland"', "`` later ... with jools holland ''"),
        ('help it."just help it."', "help it . `` just help it . ''"),
        ("<br>", "< br >"),
        ("st. sava monastery church", "st. sava monastery church"),
        ("c.e. (aided)", "c.e . ( aided )"),
        ("บางรักษ์(bang rak)", "บางรักษ์ ( bang rak )"),
        ("don't", "do n't"),
        ("it's 3.5% of $1,000, isn't it?", "it 's 3.5 % of $ 1,000 , is n't it ?"),
        ("the end.", "the end ."),
        ("the end. he left.", "the end . he left ."),
        ("the u.s. army", "the u.s. army"),
        ("dr. who", "dr. who"),
        ("in 1999. he left", "in 1999. he left"),
        ("a.f.c.;x", "a.f.c . ; x"),
        ("cannot", "can not"),
        ("gonna go", "gon na go"),
        ("i wanna go", "i wan na go"),
        ("wanna", "wan na"),
        ("'tis", "' tis"),
        ("'twas", "' twas"),
        ("d'ye", "d 'ye"),
        ("they'll say ''yes''", "they 'll say `` yes ''"),
        ("rock 'n' roll", "rock 'n ' roll"),
        ("the boys' own", "the boys ' own"),
        ("c++ & c#", "c++ & c #"),
        ("(a)[b]{c}", "( a ) [ b ] { c }"),
        ("x—y", "x — y"),
        ("what?! no", "what ? ! no"),
        ('he said "no." then', "he said `` no . '' then"),
        ('he said "no"', "he said `` no ''"),
        ("a,b, c,1", "a , b , c,1"),
        ("wait...", "wait ..."),
        ("«oui» ‘si’", "« oui » ‘ si ’"),
        ("*nsync", "* nsync"),
        ("x;y@z", "x ; y @ z"),
        ("pn̄gthng", "pn̄gthng"),
        ("1,2,3", "1,2,3"),
    ],
)
def test_words_are_those_of_nltk(text, expected):
    assert word_tokens(text) == expected.split()


def test_nothing_has_no_words():
    assert word_tokens("") == word_tokens(" ") == []
