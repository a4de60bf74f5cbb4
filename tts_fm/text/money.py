"""Sums of money in words: $3.50, CA$40, £5m, 30€, 29,99 €, €1.234,56, ₹1,00,000, 100 kr, USD 20,
EUR/USD, $20/month.

A comma or full stop before exactly two digits at the end parts the cents, before three it groups thousands (with €
and the signs of the continent; "$1.234" stays a decimal). Numbers written as on the continent or in India are
brought to one form by numbers.py first.
"""

from __future__ import annotations

import re

from tts_fm.text.rules import NUM, Rules, one_of
from tts_fm.text.spell import amount, cardinal, plural
from tts_fm.text.units import SHORT

formats = Rules()  # before numbers are read: continental commas and points beside a sign
rule = Rules()
words = Rules()  # currencies without a number

_MAGNITUDES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "mio": "million", "b": "billion",
    "bn": "billion",
    "tn": "trillion", "t": "trillion", "mil": "million",
}  # fmt: skip
_MAGNITUDE = (
    r"(?:[ -]?(?P<mag>thousand|million|billion|trillion|lakhs?|crores?|(?:bn|mn|mm|tn|Mio|mil|[kKmMbBtT])(?![\w])))?"
)
_MONEY = {  # one, many, a hundredth, hundredths
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "jeon", "jeon"), "₽": ("ruble", "rubles", "kopek", "kopeks"),
    "¢": ("cent", "cents", "", ""),
    "₺": ("lira", "lira", "kurus", "kurus"), "₪": ("shekel", "shekels", "agora", "agorot"),
    "₴": ("hryvnia", "hryvnias", "kopiyka", "kopiykas"), "₫": ("dong", "dong", "", ""),
    "₱": ("peso", "pesos", "centavo", "centavos"), "₦": ("naira", "naira", "kobo", "kobo"),
    "₵": ("cedi", "cedis", "pesewa", "pesewas"), "₡": ("colon", "colones", "", ""),
    "₲": ("guarani", "guaranies", "", ""),
    "฿": ("baht", "baht", "satang", "satang"), "₸": ("tenge", "tenge", "", ""),
    "₮": ("tugrik", "tugriks", "", ""),
    "₼": ("manat", "manat", "qapik", "qapik"), "₾": ("lari", "lari", "tetri", "tetri"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "₭": ("kip", "kip", "", ""), "৳": ("taka", "taka", "", ""), "₨": ("rupee", "rupees", "paisa", "paise"),
}  # fmt: skip
_WORDS = {  # after a number
    "kr": ("krone", "kroner", "øre", "øre"), "zł": ("zloty", "zloty", "grosz", "groszy"),
    "Kč": ("koruna", "koruna", "", ""),
    "Ft": ("forint", "forints", "", ""), "Fr": ("franc", "francs", "centime", "centimes"),
    "руб": ("ruble", "rubles", "kopek", "kopeks"),
    "Rs": ("rupee", "rupees", "paisa", "paise"), "RM": ("ringgit", "ringgit", "sen", "sen"),
    "Rp": ("rupiah", "rupiah", "", ""), "円": ("yen", "yen", "", ""), "元": ("yuan", "yuan", "", ""),
    "원": ("won", "won", "", ""),
}  # fmt: skip
_CODES = {
    "USD": "US dollar", "EUR": "euro", "GBP": "pound", "CHF": "Swiss franc", "CAD": "Canadian dollar", "HUF": "forint",
    "AUD": "Australian dollar", "INR": "rupee", "NZD": "New Zealand dollar", "SGD": "Singapore dollar",
    "HKD": "Hong Kong dollar", "MXN": "Mexican peso", "BRL": "real", "ZAR": "rand", "KRW": "won", "ILS": "shekel",
    "JPY": "yen",
    "CNY": "yuan", "RMB": "yuan", "SEK": "Swedish krona", "NOK": "Norwegian krone", "DKK": "Danish krone",
    "PLN": "zloty",
    "CZK": "koruna", "TRY": "lira", "RUB": "ruble", "UAH": "hryvnia", "THB": "baht", "PHP": "peso", "IDR": "rupiah",
    "MYR": "ringgit", "VND": "dong", "AED": "dirham", "SAR": "riyal", "NGN": "naira", "KES": "shilling",
    "BTC": "bitcoin", "ETH": "ether",
}  # fmt: skip
_MANY = {
    "yen": "yen", "yuan": "yuan", "won": "won", "real": "reais", "rand": "rand", "Swedish krona": "Swedish kronor",
    "baht": "baht",
    "Norwegian krone": "Norwegian kroner", "Danish krone": "Danish kroner", "zloty": "zloty", "koruna": "koruna",
    "lira": "lira",
    "rupiah": "rupiah", "ringgit": "ringgit", "dong": "dong", "naira": "naira", "ether": "ether",
}  # fmt: skip
_LANDS = {
    "US": "US ", "U.S.": "US ", "A": "Australian ", "AU": "Australian ", "C": "Canadian ", "CA": "Canadian ",
    "CAD": "Canadian ", "NZ": "New Zealand ",
    "HK": "Hong Kong ", "S": "Singapore ", "SG": "Singapore ", "NT": "New Taiwan ", "TT": "Trinidad ",
    "J": "Jamaican ", "USD": "US ", "AUD": "Australian ",
}  # fmt: skip
_SIGN = "[" + "".join(re.escape(sign) for sign in _MONEY) + "]"
_LAND = one_of(_LANDS)
_CODE = one_of(_CODES)
_CONTINENTAL = "€|₺|₽|₴|zł|kr|Kč|lei|R\\$|EUR|CHF|TRY|PLN|SEK|NOK|DKK|BRL|₫|₸|₾|₼"


@formats(
    rf"(?P<sign>(?:{_CONTINENTAL}"
    rf"|[$£]) ?)(?P<whole>[0-9]{{1,3}}(?:[ .][0-9]{{3}}){{1,4}})(?P<cents>,[0-9]{{1,2}})?(?![0-9]|[.,][0-9])"
)
def _grouped_after_sign(match: re.Match[str], gb: bool) -> str | None:
    if match["sign"].strip() in "$£" and not match["cents"] and match["whole"].count(".") == 1:
        return None
    return match["sign"] + re.sub("[ .]", "", match["whole"]) + (match["cents"] or "").replace(",", ".")


@formats(
    rf"(?<![\w.,])(?P<whole>[0-9]{{1,3}}(?:[ .][0-9]{{3}}){{1,4}})"
    rf"(?P<cents>,[0-9]{{1,2}})?(?P<sign> ?(?:{_CONTINENTAL})(?!\w))"
)
def _grouped_before_sign(match: re.Match[str], gb: bool) -> str:
    return re.sub("[ .]", "", match["whole"]) + (match["cents"] or "").replace(",", ".") + match["sign"]


@formats(rf"(?P<sign>(?:{_CONTINENTAL}|[$£]) ?)(?P<whole>[0-9]{{1,12}}),(?P<cents>[0-9]{{1,2}})(?![0-9]|,[0-9])")
def _comma_after_sign(match: re.Match[str], gb: bool) -> str:
    return f"{match['sign']}{match['whole']}.{match['cents'].ljust(2, '0')}"


@formats(rf"(?<![\w.,])(?P<whole>[0-9]{{1,12}}),(?P<cents>[0-9]{{1,2}})(?P<sign> ?(?:{_CONTINENTAL})(?!\w))")
def _comma_before_sign(match: re.Match[str], gb: bool) -> str:
    return f"{match['whole']}.{match['cents'].ljust(2, '0')}{match['sign']}"


@formats(rf"(?<=[0-9])[,.](?:-|–|—)(?=(?: ?(?:{_CONTINENTAL}))|$| )")
def _no_cents(match: re.Match[str], gb: bool) -> str:
    return ""


@words(rf"\b(?P<a>{_CODE})/(?P<b>{_CODE})\b")
def _pair(match: re.Match[str], gb: bool) -> str:
    return f"{_CODES[match['a']]} to {_CODES[match['b']]}"


@rule(rf"(?<![\w])(?P<sign>{_SIGN})(?P<a>{NUM})(?: to |[-–])(?P=sign)?(?P<n>{NUM}){_MAGNITUDE}")
def _money_range(match: re.Match[str], gb: bool) -> str:
    return f"{amount(match['a'], gb)} to {_sum(match['n'], match['mag'], _MONEY[match['sign']], gb)}"


@rule(rf"\bR\$ ?(?P<n>{NUM}){_MAGNITUDE}|\bMX\$ ?(?P<n2>{NUM})|\bRs\.? ?(?P<n3>{NUM})|(?<![\w.,])(?P<n4>{NUM}) ?R\$")
def _reais(match: re.Match[str], gb: bool) -> str:
    if match["n2"]:
        return _sum(match["n2"], None, ("Mexican peso", "Mexican pesos", "centavo", "centavos"), gb)
    if match["n3"]:
        return _sum(match["n3"], None, _MONEY["₹"], gb)
    return _sum(match["n"] or match["n4"], match["mag"], ("real", "reais", "centavo", "centavos"), gb)


_PRICED = (  # what a price describes: "a five dollar bill", "two five dollar bills"
    "bills?|notes?|coins?|deals?|fees?|fines?|tickets?|gift cards?|budgets?|loans?|tips?|prizes?|rewards?|discounts?"
    "|donations?|grants?|investments?|lawsuits?|settlements?|valuations?|vouchers?|minimum|contracts?|question"
)


@rule(r"(?<!\w)[$£€](?P<n>1|5|10|20|50|100)s\b")
def _notes(match: re.Match[str], gb: bool) -> str:
    return plural(cardinal(int(match["n"])))


@rule(r"(?<![\w.,-])(?P<n>[0-9]{2})c\b(?=$|[ .,;:!?)/])")
def _cents(match: re.Match[str], gb: bool) -> str | None:
    label = re.search(
        r"(?:[A-Z]\S*|[Ff]igs?\.?|page|table|section|step|item|number|part) $", match.string[: match.start()][-24:]
    )
    return None if label else f"{cardinal(int(match['n']), gb)} cents"


@rule(rf"(?<![\w])(?P<minus>[-−])?(?P<land>{_LAND})?(?P<sign>{_SIGN})(?P<minus2>[-−])? ?(?P<n>{NUM}){_MAGNITUDE}")
def _money(match: re.Match[str], gb: bool) -> str:
    before = match.string[max(0, match.start() - 3) : match.start()].lower()
    described = rf"[ -](?:{_PRICED})\b" if before not in (" a ", "an ", "a ") else "[ -][a-z]"
    as_adjective = re.match(described, match.string[match.end() : match.end() + 16]) is not None
    one, many, small, smalls = _MONEY[match["sign"]]
    land = _LANDS.get(match["land"] or "", "")
    minus = "minus " if match["minus"] or match["minus2"] else ""
    return minus + _sum(match["n"], match["mag"], (land + one, land + many, small, smalls), gb, as_adjective)


@rule(rf"(?<![\w.,])(?P<n>{NUM}){_MAGNITUDE} ?(?P<sign>{_SIGN})(?!{NUM})")
def _money_after(match: re.Match[str], gb: bool) -> str:
    return _sum(match["n"], match["mag"], _MONEY[match["sign"]], gb)


@rule(
    rf"(?<![\w.,])(?P<n>{NUM}){_MAGNITUDE} ?(?P<word>kr|zł|Kč|руб|Rp|円|元|원)(?!\w)(?:\.(?= [a-z]))?"
    rf"|\b(?P<word2>RM|Rp|kr\.?|zł|Kč) ?(?P<n2>{NUM})"
)
def _money_word(match: re.Match[str], gb: bool) -> str:
    return _sum(match["n"] or match["n2"], match["mag"], _WORDS[(match["word"] or match["word2"]).rstrip(".")], gb)


@rule(
    rf"\b(?P<code>{_CODE}) ?(?P<n>{NUM}){_MAGNITUDE}|(?<![\w.,])(?P<n2>{NUM})(?: ?(?P<mag2>thousand|million|billion"
    rf"|trillion|bn|[kKmM]))? ?(?P<code2>{_CODE})\b"
)
def _money_code(match: re.Match[str], gb: bool) -> str:
    name = _CODES[match["code"] or match["code2"]]
    small = ("penny", "pence") if name == "pound" else ("", "") if _MANY.get(name) == name else ("cent", "cents")
    return _sum(
        match["n"] or match["n2"], match["mag"] or match["mag2"], (name, _MANY.get(name, name + "s"), *small), gb
    )


def _sum(
    number: str, magnitude: str | None, names: tuple[str, str, str, str], gb: bool, as_adjective: bool = False
) -> str:
    one, many, small, smalls = names
    whole, _, part = number.replace(",", "").partition(".")
    if magnitude:
        return f"{amount(number, gb)} {_MAGNITUDES.get(magnitude.lower(), magnitude)} {one if as_adjective else many}"
    if len(part) != 2 or not small or len(whole) > 15:
        return f"{amount(number, gb)} {one if as_adjective or number == '1' else many}"
    units = (
        f"{amount(whole, gb)} {one if whole == '1' or (as_adjective and part == '00') else many}"
        if whole.strip("0")
        else ""
    )
    cents = f"{cardinal(int(part), gb)} {small if part == '01' else smalls}" if part != "00" else ""
    return f"{units} and {cents}" if units and cents else units or cents or f"zero {many}"


@rule(
    r"(?P<what>\b(?:dollars?|cents?|pounds?|pence|euros?|yen|rupees?|thousand|million|billion|miles|meters|words"
    r"|times|hours|[0-9]{1,15}))"
    r" ?/ ?(?P<per>day|week|wk|month|mo|year|yr|hour|hr|h|person|night|mile|kg|lb|minute|min|second|sec|user|unit"
    r"|sq ft|gallon|gal|liter|barrel|share|seat|item|piece|page)\b"
)
def _per(match: re.Match[str], gb: bool) -> str:
    return f"{match['what']} per {SHORT.get(match['per'], match['per'])}"
