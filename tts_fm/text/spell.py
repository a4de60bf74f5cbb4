"""English numbers in words: cardinals, ordinals, years, digit by digit; names of months and units. Knows no text around
a number.

`gb` chooses British usage: "one hundred and five".
"""

from __future__ import annotations

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ("", "thousand", "million", "billion", "trillion")
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
MONTHS = "January February March April May June July August September October November December".split()

_RATES = {"kph": "kilometer per hour|kilometers per hour", "mph": "mile per hour|miles per hour"}
UNITS = {  # symbol: singular, plural; a name alone gets an s
    "km/h": "kilometer per hour|kilometers per hour", "m/s^2": "meter per second squared|meters per second squared",
    "mi/h": "mile per hour|miles per hour", "km^2": "square kilometer", "m^2": "square meter",
    "cm^2": "square centimeter", "mm^2": "square millimeter", "ft^2": "square foot|square feet", "m^3": "cubic meter",
    "cm^3": "cubic centimeter", "mm^3": "cubic millimeter", "km^3": "cubic kilometer", "ft^3": "cubic foot|cubic feet",
    "sqft": "square foot|square feet", "km2": "square kilometer", "m2": "square meter", "cm2": "square centimeter",
    "m3": "cubic meter", "cm3": "cubic centimeter", "km": "kilometer", "cm": "centimeter", "mm": "millimeter",
    "nm": "nanometer", "μm": "micrometer", "m": "meter", "mi": "mile", "ft": "foot|feet", "yd": "yard", "yds": "yard",
    "in": "inch|inches", "kg": "kilogram", "kgs": "kilogram", "mg": "milligram", "μg": "microgram", "mcg": "microgram",
    "ng": "nanogram", "g": "gram", "lb": "pound", "lbs": "pound", "oz": "ounce", "ml": "milliliter", "mL": "milliliter",
    "μL": "microliter", "μl": "microliter", "cl": "centiliter", "dl": "deciliter", "dL": "deciliter", "L": "liter",
    "l": "liter", "gal": "gallon", "qt": "quart", "fl oz": "fluid ounce", "cc": "C C|C C", "ac": "acre",
    "ha": "hectare", "°C": "degree Celsius|degrees Celsius", "°F": "degree Fahrenheit|degrees Fahrenheit",
    "° C": "degree Celsius|degrees Celsius", "° F": "degree Fahrenheit|degrees Fahrenheit", "°K": "kelvin|kelvin",
    "°": "degree", "deg": "degree", "ms": "millisecond", "μs": "microsecond", "ns": "nanosecond", "s": "second",
    "sec": "second", "secs": "second", "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour",
    "wk": "week", "wks": "week", "mo": "month", "mos": "month", "yr": "year", "yrs": "year", "Hz": "hertz|hertz",
    "kHz": "kilohertz|kilohertz", "MHz": "megahertz|megahertz", "GHz": "gigahertz|gigahertz",
    "THz": "terahertz|terahertz", "dB": "decibel", "dBA": "D B A|D B A", "mW": "milliwatt", "W": "watt",
    "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "Wh": "watt hour", "kWh": "kilowatt hour",
    "MWh": "megawatt hour", "GWh": "gigawatt hour", "V": "volt", "mV": "millivolt", "kV": "kilovolt", "A": "amp",
    "mA": "milliamp", "μA": "microamp", "Ah": "amp hour", "mAh": "milliamp hour", "Ω": "ohm", "kΩ": "kiloohm",
    "MΩ": "megaohm", "nF": "nanofarad", "pF": "picofarad", "μF": "microfarad", "mF": "millifarad",
    "mH": "millihenry|millihenries", "μH": "microhenry|microhenries", "J": "joule", "kJ": "kilojoule",
    "MJ": "megajoule", "cal": "calorie", "kcal": "kilocalorie", "eV": "electron volt", "keV": "kiloelectron volt",
    "MeV": "megaelectron volt", "GeV": "gigaelectron volt", "N": "newton", "kN": "kilonewton", "Nm": "newton meter",
    "Pa": "pascal", "kPa": "kilopascal", "MPa": "megapascal", "hPa": "hectopascal", "mbar": "millibar", "bar": "bar",
    "psi": "P S I|P S I", "atm": "atmosphere", "mmHg": "millimeters of mercury|millimeters of mercury", "mol": "mole",
    "mmol": "millimole", "μmol": "micromole", "mM": "millimolar|millimolar", "μM": "micromolar|micromolar",
    "bits": "bit|bits", "Kb": "kilobit", "kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "KB": "kilobyte",
    "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "EB": "exabyte",
    "KiB": "kibibyte", "MiB": "mebibyte", "GiB": "gibibyte", "TiB": "tebibyte", "PiB": "pebibyte",
    "kbps": "kilobit per second|kilobits per second", "Kbps": "kilobit per second|kilobits per second",
    "bps": "bit per second|bits per second", "Mbps": "megabit per second|megabits per second",
    "Gbps": "gigabit per second|gigabits per second", "MBps": "megabyte per second|megabytes per second",
    "Mbit": "megabit", "Gbit": "gigabit", "kbit": "kilobit", "rpm": "R P M|R P M", "RPM": "R P M|R P M",
    "mpg": "mile per gallon|miles per gallon", "ppm": "part per million|parts per million",
    "ppb": "part per billion|parts per billion", "bpm": "beat per minute|beats per minute",
    "wpm": "word per minute|words per minute", "dpi": "D P I|D P I", "ppi": "P P I|P P I",
    "fps": "frame per second|frames per second", "px": "pixel", "MP": "megapixel", "hp": "horsepower|horsepower",
    "pt": "point", "pts": "point", "tbsp": "tablespoon", "tsp": "teaspoon", "lx": "lux|lux", "lm": "lumen",
    "kn": "knot", "kt": "knot", "kts": "knot", "ly": "light year", "pc": "parsec", "AU": "A U|A U",
    "mmol/L": "millimole per liter|millimoles per liter", **_RATES,
}  # fmt: skip


def cardinal(number: int, gb: bool = False) -> str:
    """0 <= number < 10**15 in words; from 10**15 on (and for negative numbers) ValueError."""
    if not 0 <= number < 10**15:
        raise ValueError(f"{number} is not between 0 and 10**15")
    if number == 0:
        return "zero"
    groups: list[str] = []
    rest, scale = number, 0
    while rest:
        rest, group = divmod(rest, 1000)
        if group:
            words = _below_thousand(group, gb)
            if gb and scale == 0 and group < 100 and rest:
                words = f"and {words}"
            groups.append(f"{words} {_SCALES[scale]}".strip())
        scale += 1
    return " ".join(reversed(groups))


def _below_thousand(number: int, gb: bool) -> str:
    hundreds, rest = divmod(number, 100)
    words = [f"{_SMALL[hundreds]} hundred"] if hundreds else []
    if rest:
        if hundreds and gb:
            words.append("and")
        tens, ones = divmod(rest, 10)
        words.append(_SMALL[rest] if rest < 20 else _TENS[tens] + (f"-{_SMALL[ones]}" if ones else ""))
    return " ".join(words)


def ordinal(number: int, gb: bool = False) -> str:
    """0 <= number < 10**15 as an ordinal: "first", "twenty-second"."""
    words = cardinal(number, gb)
    cut = max(words.rfind(" "), words.rfind("-")) + 1
    head, last = words[:cut], words[cut:]
    if last in _ORDINALS:
        return head + _ORDINALS[last]
    return head + (last[:-1] + "ieth" if last.endswith("y") else last + "th")


def digits(text: str) -> str:
    """Every digit of `text` by itself: "007" gives "zero zero seven"."""
    return " ".join(_SMALL[int(char)] for char in text if char in "0123456789")


def year(number: int, gb: bool = False) -> str:
    """A year as it is said: 1905 "nineteen oh five", 2007 "two thousand seven", 2024 "twenty twenty-four"."""
    high, low = divmod(number, 100)
    if number < 1000 or number > 9999 or number % 1000 == 0 or (high % 10 == 0 and low < 10):
        return cardinal(number, gb)
    return f"{cardinal(high)} {'hundred' if low == 0 else 'oh ' + _SMALL[low] if low < 10 else cardinal(low)}"


def amount(text: str, gb: bool = False) -> str:
    """A written number: "1,234.5" gives "one thousand two hundred thirty-four point five". Leading zeros or over 15
    digits: by digit.
    """
    whole, point, part = text.replace(",", "").partition(".")
    said = (
        ""
        if not whole
        else digits(whole)
        if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0")
        else cardinal(int(whole), gb)
    )
    return f"{said} point {digits(part)}".strip() if point and part else said


def plural(words: str) -> str:
    """ "twenty" gives "twenties", "six" gives "sixes"."""
    return words[:-1] + "ies" if words.endswith("y") else words + ("es" if words.endswith("x") else "s")
