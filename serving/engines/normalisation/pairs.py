"""Two numbers that belong together: verses ("John 3:16"), ratios and results ("3:1", "Vasco 2 x 1 Flamengo")."""

from __future__ import annotations

import re
from collections.abc import Callable

from serving.engines.normalisation.language import Language

_BOOKS = (
    "G[êée]n[eè]s(?:is|e|i)|[ÊÉE][xs](?:odo|odus|ode)|L[eé]v[ií]ti(?:co|cus|que)|N[uú]meros|Numbers|Nombres|Numeri|"
    "Deut[eé]ron(?:ômio|ómio|omio|omy|ome|omium)|Josué|Joshua|Josua|Giosuè|Ju[íe]zes|Jueces|Judges|Richter|Rute|Ruth?|"
    "Samuele?|Reis|Reyes|Kings|Rois|Könige|Cr[ôó]nicas|Chronicles|Chroniques|Chronik|Esdras|Ezra|Ne[eh]em[ií]a[sh]|Esth?er|"
    "Jó|Job|Hiob|Giobbe|[SP]s?a[lu]m[eio]?s?|Prov[eé]rb(?:ios|s|es|i)|Sprüche|E[ck]+lesiast[eé]s|Isa[ií]a[sh]?|[ÉI]sa[ïi]e|"
    "Jesaja|J[eé]r[eé]m(?:ias|ías|iah|ie|ia)|Geremia|Ezequiel|Ezekiel|Hesekiel|Daniel|Os[eé]ias|Hosea|Joel|Am[oó]s|Jona[sh]|"
    "Miqueias|Micah|Malaquias|Malachi|Mat(?:eus|eo|thew|thieu|thäus|teo)|Mar(?:cos|k|c|kus|co)|Lu(?:cas|ke|c|kas|ca)|"
    "João|Juan|John|Jean|Johannes|Giovanni|Atos|Hechos|Acts|Actes|Apostelgeschichte|Atti|Rom(?:anos|ans|ains|ani)|Römer|"
    "[CK]or[ií]n(?:tios|thians|thiens|ther|zi)|G[aá]lat(?:as|ians|es|er|i)|[EÉ](?:f[eé]s|ph[eé]s)(?:ios|ians|iens|er|ini)|"
    "[FP]h?ilip(?:enses|pians|piens|per|pesi)|[CK]olos(?:senses|enses|sians|siens|ser|sesi)|Th?ess?al\\w{6,12}|"
    "Tim[oó]th?(?:eo|y|ée|eus)|Tit[oue]s?|H?[eé]b(?:reus|reos|rews|reux|räer|rei)|Hébreux|Tiago|Santiago|James|Jacques|"
    "Jakobus|Giacomo|Pedro|Peter|Pierre|Petrus|Pietro|Judas|Jude|Ap[oó]cal[iy]ps[ei]s?|Apocalisse|Revelation|Offenbarung"
)
_VERSE = re.compile(
    rf"\b(?P<book>{_BOOKS})[ ](?P<first>\d{{1,3}}):(?P<last>\d{{1,3}})(?![\d:]|[ ]?(?:[aApP]\.?[mM]|h|Uhr)\b)"
)
_RATIO = re.compile(r"(?<![\w:.,/-])(?P<first>\d{1,3}):(?P<last>\d|\d{3})(?![\w:]|[.,]\d)")
# A Portuguese x is "vezes" elsewhere, and "a" between the goals of two teams.
_RESULT = re.compile(
    r"(?:(?P<team>\b[A-ZÀ-Ý][\w-]{1,30}[ ])|(?P<verb>\b(?i:venc|ganh|perd|empat|gole|termin|acab|placar|vitóri|derrot)"
    r"\w{0,5}[ ](?:(?:foi|jogo|por|de|em|com|o|a)[ ]){0,2}))(?P<first>\d{1,2})[ ]?[xX][ ]?(?P<last>\d{1,2})"
    r"(?(team)(?=[ ][A-ZÀ-Ý][a-zà-ÿ])|(?![\w,]|[ ]\d))"
)


def pairs(language: Language) -> Callable[[str], str]:
    between = language.ratio or language.to

    def verse(match: re.Match[str]) -> str:
        return f"{match['book']} {language.words(int(match['first']))}, {match['last']}"

    def ratio(match: re.Match[str]) -> str:
        return f"{language.words(int(match['first']))} {between} {language.words(int(match['last']))}"

    def result(match: re.Match[str]) -> str:
        return f"{match['team'] or match['verb']}{ratio(match)}"

    def apply(text: str) -> str:
        if ":" in text:
            text = _RATIO.sub(ratio, _VERSE.sub(verse, text))
        return _RESULT.sub(result, text) if language.locale.startswith("pt") else text

    return apply
