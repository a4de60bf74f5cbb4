"""Expressions of every kind that people write, each with what is said; answers by hand, and British ones beside."""

from __future__ import annotations

import pytest

from tts_fm.text.normalise import normalise

KINDS = """
# money
A coat for CA$85, shoes for AU$12. | A coat for eighty-five Canadian dollars, shoes for twelve Australian dollars.
It was 75$ or 18,90 €. | It was seventy-five dollars or eighteen euros and ninety cents.
€2.345,60 and €7,05 | two thousand three hundred forty-five euros and sixty cents and seven euros and five cents
€3 500 | three thousand five hundred euros
215.000 € | two hundred fifteen thousand euros
₹2,50,000 | two hundred fifty thousand rupees
₺40, ₪7, ₴90 | forty lira, seven shekels, ninety hryvnias
R$ 12 | twelve reais
250 kr | two hundred fifty kroner
GBP/USD | pound to US dollar
zł 40, 300円, 75c | forty zloty, three hundred yen, seventy-five cents
a note, a $20 bill, a few $50s | a note, a twenty dollar bill, a few fifties
# dates
The fair is on 6/2. | The fair is on June second.
We close on 11/23. | We close on November twenty-third.
since 08/2021 | since August twenty twenty-one
the 2021/22 season | the twenty twenty-one to twenty-two season
2019.03.05 | March fifth, twenty nineteen
Open Tue-Sat. | Open Tuesday to Saturday.
Mar-May | March to May
Oct '99 | October nineteen ninety-nine
1215-1297 | twelve fifteen to twelve ninety-seven
April 3, 4 and 5 | April third, fourth and fifth
2nd-4th | second to fourth
Fri. at nine | Friday at nine
M-F 8am-6pm | Monday to Friday eight A M to six P M
(1987-) | (nineteen eighty-seven to present)
the 1950s-1970s | the nineteen fifties to nineteen seventies
1415 AD | fourteen fifteen A D
Apr–Jun 2022 | April to June twenty twenty-two
June 28–July 3 | June twenty-eighth to July third
Tue, Thu and Sat | Tuesday, Thursday and Saturday
the week of 9/4 | the week of September fourth
2025-W07 | twenty twenty-five week seven
# times and durations
2h 15m | two hours fifteen minutes
It lasted 4m30s. | It lasted four minutes thirty seconds.
a timer of 2:05:00 | a timer of two hours five minutes
It starts at 14:05:10. | It starts at fourteen oh five and ten seconds.
Hold it for 20s. | Hold it for twenty seconds.
In her 20s. | In her twenties.
12 min. remaining | twelve minutes remaining
0715 hours | oh seven fifteen hours
16:30Z | sixteen thirty Zulu
2023-11-02T08:15:00Z | November second, twenty twenty-three at eight fifteen UTC
8 a.m.–noon | eight A M to noon
7 a.m.-3 p.m. | seven A M to three P M.
noon-2pm | noon to two P M
7h20 | seven twenty
a lap of 1:52.4 | a lap of one minute fifty-two point four seconds
4'45" | four minutes forty-five seconds
2:03:04.5 left | two hours three minutes and four point five seconds left
T-30 seconds | T minus thirty seconds
# numbers
2 500 000 | two million five hundred thousand
4'000'000 | four million
5_000_000 | five million
7.654.321,5 | seven million six hundred fifty-four thousand three hundred twenty-one point five
2,71 | two point seven one
1,20,000 | one hundred twenty thousand
20k, 3.5M and 7bn | twenty thousand, three point five million and seven billion
2e-4 | two times ten to the minus four
0x2A | hex two A
3.5/5 | three point five out of five
3/5 stars | three out of five stars
Phone 2065550100. | Phone two zero six, five five five, zero one zero zero.
PIN 0815 | pin zero eight one five
4012 8888 8888 1881 | four zero one two, eight eight eight eight, eight eight eight eight, one eight eight one
EC2A 4NE | E C two A, four N E
Seattle, WA 98109 | Seattle, W A nine eight one zero nine
10.1.0.0/16 | ten dot one dot zero dot zero slash sixteen
10.1.0.5:8443 | ten dot one dot zero dot five, port eighty-four forty-three
Luke 2:1-14 | Luke two, one to fourteen
a 5-2 win | a five two win
1-800-GARDENS | one, eight hundred, gardens
4.2×10^5 | four point two times ten to the fifth
3 450,75 | three thousand four hundred fifty point seven five
100s of birds, 1,000,000s of ants | hundreds of birds, millions of ants
Python 3.12, Ubuntu 24.04 | Python three point twelve, Ubuntu twenty-four point oh four
SHA-512, AES-256 | S H A five twelve, A E S two fifty-six
Row 3, Seat 14A | Row three, Seat fourteen A
localhost:8000 | localhost, port eight thousand
a0:b1:c2:d3:e4:f5 | A zero, B one, C two, D three, E four, F five
# units
15" pipe, 5'6 | fifteen inch pipe, five foot six
6 ft 2 in | six feet two inches
250 sq. ft. | two hundred fifty square feet.
25 Mb/s, 3 kg/m³, 40 μL | twenty-five megabits per second, three kilograms per cubic meter, forty microliters
20kg-25kg | twenty to twenty-five kilograms
a 45° angle | a forty-five degree angle
60°N | sixty degrees north
720p | seven twenty P
2560x1440 | twenty-five sixty by fourteen forty
the 200 m sprint | the two hundred meter sprint
3/8 in | three eighths of an inch
2 c. sugar | two cups sugar
8GB RAM | eight gigabytes of ram
mol/L | moles per liter
4 TiB | four tebibytes
12 y/o | twelve years old
12 x 18 cm, 5x7 in | twelve by eighteen centimeters, five by seven inches
3/8" | three eighths of an inch
40 ha, 12 pcs | forty hectares, twelve pieces
# Roman numerals
CHAPTER IX | CHAPTER nine
PART III | PART three
chapter vii | chapter seven
the XVI century | the sixteenth century
Edward VII's coat | Edward the seventh's coat
Type I | Type one
In Part I think of that. | In Part I think of that.
Vol. III | Volume three
WWII | World War two
III John | Third John
MDCCLXXVI | seventeen seventy-six
XIV. | fourteen.
VII. The storm | seven. The storm
(iii) the third | (three) the third
iPhone X, Mk IV | iPhone ten, Mark four
# abbreviations
7th St. SW | seventh Street south west
10 Downing St. He left. | ten Downing Street. He left.
No. of cats: 3 | Number of cats: three
Rm. 305 | Room three oh five
Hwy. 1, Rte. 7, Bldg. 2 | Highway one, Route seven, Building two
Drs. Li and Wu | Doctors Li and Wu
w/ care, b/c of it | with care, because of it
aka Jo | A K A Jo
b. 1815, d. 1852 | born eighteen fifteen, died eighteen fifty-two
Mr. & Mrs. Park | Mister and Misses Park
Brown v. Board, Roe v Wade | Brown versus Board, Roe versus Wade
Marx Bros. Films, excl. VAT | Marx Brothers Films, excluding VAT
Min. order 3, min. depth | Minimum order three, minimum depth
hwy 99, Apt 7, 3rd Fl. | highway ninety-nine, Apartment seven, third Floor
in Tampa, Fla. in May | in Tampa, Florida in May
N. Oak St. | North Oak Street.
the 17th c. | the seventeenth century
# acronyms
AT&T, Q&A | A T and T, Q and A
IDs, PhDs | I D's, P H D's
the WHO | the W H O
Who knows? WHO's plan | Who knows? W H O's plan
KEEP OFF THE GRASS | Keep off the grass
The NBA and the EPA | The NBA and the E P A
NaOH | N A O H
Fe²⁺ | F E two plus
GIVE US A SIGN | Give us a sign
THE US WINS | The US wins
QA and 2FA | Q A and two F A
# code and mathematics
a >= 3, b <= 4, c != d | a greater than or equal to three, b less than or equal to four, c is not equal to d
p && q | p and q
y**2 + 3^n | y squared plus three to the n
9 - 4 = 5 | nine minus four equals five
12 / 4 = 3 | twelve divided by four equals three
notes.txt, photo.jpg | notes dot T X T, photo dot J peg
os.listdir | os dot listdir
/etc/hosts | slash etc slash hosts
D:\\music\\a.mp3 | D colon backslash music backslash a dot M P three
#00FF7F | hex zero zero F F seven F
#LongWeekend | hashtag Long Weekend
Δx | delta x
∂f | partial f
k--, n -= 2, n *= 3 | k minus minus, n minus equals two, n times equals three
!ready | not ready
git log --all -n 3 | git log dash dash all dash n three
SELECT * FROM t | SELECT star FROM t
y % 3 | y mod three
g(x), f'(t) | g of x, f prime of t
p → q, x → ∞ | p to q, x to infinity
q<0.1 | q less than zero point one
5x - 2y = 1 | five x minus two y equals one
(x+y)² | (x plus y) squared
6! = 720 | six factorial equals seven hundred twenty
dy/dx | d y by d x
PO₄³⁻ | P O four three minus
# Markdown, HTML, LaTeX
See [the map](https://a.example/x). | See the map.
![A red barn](barn.png) | A red barn
It is so.[3] Also this[^2]. | It is so. Also this.
as told [1], [4-6] and [7,8]. | as told.
a word.² Next | a word. Next
==new== and ~~old~~ | new and old
Fish &amp; chips&nbsp;now | Fish and chips now
<note kind="x">Wait</note> here | Wait here
$\\beta - \\gamma$ | beta minus gamma
\\frac{3}{4} | three quarters
I <3 tea | I love tea
<img src="a.png" alt="a gate"> | a gate
$\\sqrt[3]{27}$ | the cube root of twenty-seven
$\\sum_{k=1}^n k$ | the sum from k equals one to n of k
$\\lim_{x \\to 0} g(x)$ | the limit as x goes to zero of g of x
$\\vec{u} + \\hat{x}$ | vector u plus x hat
\\section{Aims} \\cite{li20} | Aims
"Go".Then he went | "Go". Then he went
"""
CASES = [tuple(line.split(" | ")) for line in KINDS.strip().splitlines() if not line.startswith("# ")]


@pytest.mark.parametrize(("text", "wanted"), CASES, ids=[text for text, _ in CASES])
def test_kinds(text, wanted):
    assert normalise(text) == wanted


def test_what_is_said_is_not_changed_again():
    for _, wanted in CASES:
        assert normalise(normalise(wanted)) == normalise(wanted) and not any(char.isdigit() for char in wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("on 5/6", "on the fifth of June"),
        ("25/12", "the twenty-fifth of December"),
        ("12/2024", "December twenty twenty-four"),
        ("03/04/2021", "the third of April, twenty twenty-one"),
        ("120 l, 3 km", "one hundred and twenty litres, three kilometres"),
    ],
)
def test_ambiguous_forms_follow_the_language(text, wanted):
    assert normalise(text, "en-gb") == wanted
