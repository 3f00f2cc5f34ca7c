"""Which nouns are feminine, by their endings: masculine ones of such endings first, then the feminine ones."""

from __future__ import annotations

import re


def _feminine(masculine: str, feminine: str, *, despite: str) -> re.Pattern[str]:
    """``despite``: feminine nouns that have a masculine ending, as "lista" has that of "artista"."""
    return re.compile(rf"(?:{despite})|(?!(?:{masculine})\b)(?:{feminine})")


_GREEK = (
    r"\w*(?:emas?|amas?|istas?|mapas?|planetas?|cometas?|poetas?|atletas?|gramas?|colegas?|cratas?|omatas?|climas?)|"
    r"fantasmas?|dálmatas?|piratas?|pijamas?|s[ií]ntomas?|idiomas?|diplomas?|aromas?"
)
_LISTS = r"(?:\w*(?:entrev|conqu)|l|p|rev|v|cr)istas?|(?:c|d|ch|ll|tr|r)amas?|(?:al)?gemas?"

PORTUGUESE = _feminine(
    rf"{_GREEK}|dias?|meios?-dias?|cora(?:ção|ções)|cal(?:ção|ções)|bast(?:ão|ões)|brasões",
    r"\w*(?:dades?|ção|ções|gem|gens|ssão|ssões|nsão|nsões|rsão|rsões|isão|isões|stões|stão|gião|giões|união|uniões)|"
    r"raz(?:ão|ões)|opini(?:ão|ões)|ocasi(?:ão|ões)|(?:mulher|flor|colher|cor|luz|voz|cruz|vez|atriz)(?:es)?|raiz|raízes|"
    r"nuvem|nuvens|(?:mãe|mão|noite|tarde|parte|fonte|foto|moto|tribo|classe|chave|rede|sede|ponte|torre|árvore|ave|nave|"
    r"frase|base|série|espécie|equipe|morte|crise|greve|análise|hipótese|tese|maçã|irmã|manhã|semente|face|lei)s?|\w{2,}as?",
    despite=_LISTS,
)
SPANISH = _feminine(
    rf"{_GREEK}|(?:medio|\w*tran)?(?:día|vía)s?|or[ií]gen(?:es)?|m[aá]rgen(?:es)?|gen(?:es)?|"
    # "un agua", but "doscientas aguas"
    r"agua|arma|alma|área|águila|aula|ala|hacha|acta|ave|hada|ancla|arca|arpa",
    r"\w*(?:dad|dades|ción|ciones|sión|siones|xión|xiones|gión|giones|nión|niones|stión|stiones|gen|genes|tud|tudes)|"
    r"(?:mujer|flor|pared|red|ley)(?:es)?|(?:ve|lu|vo|cru|actri)(?:z|ces)|(?:noche|tarde|parte|mano|madre|foto|moto|clase|"
    r"llave|calle|ave|nave|nube|fuente|torre|serie|especie|base|frase|sede|muerte|gente|serpiente|costumbre|cumbre)s?|"
    r"\w{2,}as?",
    despite=_LISTS,
)
FRENCH = re.compile(
    r"(?:heure|minute|seconde|journée|semaine|année|nuit|personne|femme|fille|famille|page|place|chambre|voiture|maison|"
    r"ville|livre|tonne|tasse|bouteille|pièce|table|ligne|lettre|chose|part|école|entreprise|équipe|main|clé|rue|route|"
    r"mère|vie|carte|porte|photo|idée|victoire|étoile|boîte|gousse|cuillère|pincée|tranche|feuille|dose|voie|usine|machine|"
    r"église|île|classe|défaite|médaille|\w{2,}(?:tion|sion|ité))s?|fois|voix"
)
