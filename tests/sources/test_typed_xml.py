"""XML from outside is read without anything that could grow, fetch or overflow, and into plain values."""

import time
from collections.abc import Mapping

import pytest

from receiver.sources import typed_xml
from receiver.sources.documents import UnreadableError


def test_values_have_the_types_that_they_say() -> None:
    text = b"""<?xml version="1.0" encoding="UTF-8"?>
    <the-root>
      <at type="datetime">2025-10-09T08:53:20Z</at> <count type="integer"> -3</count> <yes type="boolean">
      true </yes>
      <no type="boolean">0</no> <none nil="true"/> <empty></empty> <price type="decimal">42.10</price>
      <list-of-things type="array"><thing><id>1</id></thing><thing><id>2</id></thing></list-of-things>
      <nothing type="array"/> <twice>a</twice><twice>b</twice> <text>&lt;b&gt; &#233; <![CDATA[&]]></text>
    </the-root>"""
    assert typed_xml.parsed(text) == (
        "the_root",
        {
            "at": "2025-10-09T08:53:20Z",
            "count": -3,
            "yes": True,
            "no": False,
            "none": None,
            "empty": "",
            "price": "42.10",
            "list_of_things": [{"id": "1"}, {"id": "2"}],
            "nothing": [],
            "twice": ["a", "b"],
            "text": "<b> é &",
        },
    )


def test_what_is_written_is_read_again() -> None:
    value = {
        "at": "2025-10-09T08:53:20.000Z",
        "n": 2**70,
        "b": False,
        "x": None,
        "l": [{"id": "1"}],
        "t": "<&>é",
        "o": {"i": 1},
    }
    assert typed_xml.parsed(typed_xml.written("a_b", value).encode()) == ("a_b", value)


BAD: Mapping[str, bytes] = {
    "no XML": b"hello",
    "not closed": b"<a><b></a>",
    "two roots": b"<a/><b/>",
    "an undeclared entity": b"<a>&b;</a>",
    "billion laughs": b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>',
    "an external entity": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "an external document type": b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
    "a parameter entity": b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://127.0.0.1/"> %b;]><a/>',
    "a document type alone": b"<!DOCTYPE a><a/>",
    "NUL": b"<a>\0</a>",
    "an escaped NUL": b"<a>&#0;</a>",
    "a lone surrogate": b"<a>&#xD800;</a>",
    "not UTF-8": b"<a>\xff</a>",
    "another encoding than it is read in": '<?xml version="1.0" encoding="UTF-16"?><a>é</a>'.encode("utf-16"),
    "UTF-7": b'<?xml version="1.0" encoding="UTF-7"?><a>+AGE-\xff</a>',
    "100,000 levels": b"<a>" * 100_000 + b"</a>" * 100_000,
    "an integer that is none": b'<a type="integer">1e5</a>',
    "an integer in Arabic digits": '<a type="integer">\u0661</a>'.encode(),
    "5,000 digits": b'<a type="integer">' + b"1" * 5_000 + b"</a>",
    "an empty integer": b'<a type="integer"/>',
    "a truth that is none": b'<a type="boolean">maybe</a>',
    "an attribute twice": b'<a type="x" type="y"/>',
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read(case: str) -> None:
    with pytest.raises(UnreadableError, match=r"^xml_invalid$"):
        typed_xml.parsed(BAD[case])


def test_nothing() -> None:
    with pytest.raises(UnreadableError, match=r"^body_empty$"):
        typed_xml.parsed(b"")


@pytest.mark.parametrize(
    "piece",
    [b"<b/>", b"<b>x</b>", b"x&amp;", b"<!--" + b"-x" * 9 + b"-->", b"<![CDATA[x]]>", b"<?p x?>", b'<b type="array"/>'],
)
def test_time_grows_with_the_length_and_no_faster(piece: bytes) -> None:
    def seconds(times: int) -> float:
        text = b"<a>" + piece * times + b"</a>"
        began = time.process_time()
        typed_xml.parsed(text)
        return time.process_time() - began

    short = min(seconds(2_000) for _ in range(3))
    assert min(seconds(20_000) for _ in range(3)) < short * 40 + 0.01
