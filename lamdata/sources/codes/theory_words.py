"""Words of a molecular program's input -> what each is: a method, a basis set, a dispersion correction. Known by themselves, not by their place.

Gaussian, ORCA and Psi4 share most of these words. A word that is not here is not guessed at: the field stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FUNCTIONALS = """
    hfs xalpha lsd lda lsda svwn svwn5 vwn vwn3 vwn5 pwlda spw92
    bp86 bp blyp olyp glyp xlyp pw91 pw91pw91 mpwpw mpwlyp pbe pbepbe rpbe revpbe rpw86pbe pwp opbe bpw91 bpbe hcth hcth407 hcth147 n12 sogga11 gam
    b97d b97d3 b97-d b97-d3 b97-d3bj b97-d4 b97-1 b97-2 b97-3 b971 b972 b98 vsxc thcth pkzb
    m06l m06-l m11l m11-l mn12l mn12-l mn15l mn15-l revm06-l tpss tpsstpss revtpss scan scanfunc rscan r2scan ktpss
    b97m-v b97m-d3bj b97m-d4 b1lyp b3lyp b3lyp/g b3lyp_g b3lyp5 o3lyp x3lyp b1b95 b1p b3p b3p86 b3pw b3pw91 pw1pw mpw1pw mpw1pw91 mpw1lyp mpw1k mpw3pbe
    pbe0 pbe1pbe pbeh pbeh1pbe pbe50 revpbe0 revpbe38 bhandh bhandhlyp bhlyp bh&hlyp tpssh tpss0 bmk m05 m052x m05-2x m06 m062x m06-2x m06hf m06-hf
    m08hx m08-hx m08-so mn15 mn12sx sogga11x n12sx pw6b95 pwb6k apf apfd hse03 hse06 hseh1pbe ohse1pbe ohse2pbe hissbpbe x3lyp b3tlap
    r2scanh r2scan0 r2scan50 scan0 tpsskcis thcthhyb ohse2pbe hse2pbe pkzbpkzb
    wb97 wb97x wb97xd wb97x-d wb97xd3 wb97x-d3 wb97x-d3bj wb97x-v wb97x-d4 wb97x-d4rev wb97m-v wb97m-d3bj wb97m-d4 wb97m-d4rev camb3lyp cam-b3lyp cam-qtp-00
    lc-blyp lc-pbe lc-wpbe lc-whpbe lc-wpbehpbe lc-bop lc_blyp m11 wr2scan wpbe wpbe0 lrc-wpbe lrc-wpbeh wblyp
    b2plyp b2plypd b2plypd3 b2plyp-d b2plyp-d3 b2plyp-d3bj mpw2plyp mpw2plypd mpw2plyp-d b2gp-plyp b2k-plyp b2t-plyp pwpb95 pwpb95-d3 wb2plyp wb2gp-plyp
    dsd-blyp dsd-pbep86 dsd-pbeb95 dsdpbep86 dsd-blyp/2013 dsd-pbep86/2013 revdsdpbep86 revdsd-pbep86/2021 revdsd-pbep86-d4/2021 pbe0-dh pbe0dh pbe0-2 pbeqidh
    pbe-qidh wpr2scan50 pr2scan50 pr2scan69 kpr2scan50 hf-3c pbeh-3c b97-3c r2scan-3c wb97x-3c b3lyp-3c
    am1 pm3 pm3mm pm6 pm7 mndo zindo zindo/s zindo/1 indo cndo xtb xtb0 xtb1 xtb2 gfn0-xtb gfn1-xtb gfn2-xtb gfn-ff
"""
FUNCTIONALS = frozenset(_FUNCTIONALS.split())
CORRELATED = re.compile(
    r"(?:(?:ri|df|dlpno|lpno|bt-pno|pno|steom|eom|eomip|eomea|ip|ea|ee|oo|f12|dlpno-ri|auto|autoci|scs|sos|sf|st|ic|fic|sc|pc|nl|r)-?)*"
    r"(?:mp2|mp2\.5|mp3|mp4(?:\((?:sdt?q|d|dq)\))?|mp4(?:sdt?q|dq)|mp5|ccd|ccsd|ccsd\(a?t1?\)|ccsdt(?:\(q\))?|cc2|cc3|qcisd|qcisd\(t\)|bd|bd\(t\)|"
    r"cepa/\d|cepa\(\d\)|cpf/\d|cisd|cid|ci|fci|mrci(?:\+q)?|casscf|nevpt2|caspt2|adc\(?[123]\)?|adc2-x|rpa|omp2|omp3|olccd|cis|cis\(d\)|tda|sac-ci)"
    r"(?:-f12)?(?:/f12|-f12d)?",
    re.IGNORECASE,
)
BASIS = re.compile(
    r"m?(?:sto-?\d+g|midix|mini|minis|minix|midi!?|[346]-\d{1,3}(?:\+\+?)?g)(?:\*{0,2}|\([^()]*\)|\+{1,2})?"  # Pople's
    r"|(?:d-aug-|t-aug-|aug-|jul-|jun-|may-|apr-|mar-|heavy-aug-|spaug|daug-|saug-)?cc-pw?c?v\(?[dtq5678]z?(?:\+d\)?)?z?(?:-pp|-dk\d?|-f12|_\w+)*"  # Dunning's
    r"|(?:old-|ma-|x2c-|dhf-|zora-|dkh-|def-?|def2-?)*[mv]?(?:sv|tz|qz|dz)(?:v?p{0,2}d?|v?\(p{1,2}\)|2pf?)(?:\(-[fd]+\)|-f)?(?:all)?(?:-s)?(?:-2c)?"  # Karlsruhe's
    r"|sarc2?-(?:zora|dkh)-\w+(?:/\w+)?|ano-(?:rcc|pv|sz)[\w-]*|(?:aug-)?ano-pv[dtq56]z|(?:aug-|d-aug-)?(?:admm-|pc|pcseg|pcsseg|pcj|pcx|pch)-?\d"
    r"|lanl\d+\w*|sdd(?:all|old)?|cep-\d+g\*{0,2}|d95v?(?:\+\+?)?(?:\*{0,2}|\([^()]*\))|epr-i{2,3}|iglo-i{2,3}|ugbs[\w+]*|dgd?tz?zvp2?|dg[dt]zvp2?|cbsb7(?:\+\+)?|mtsmall"
    r"|sapporo-\w+|jorge-\w+|hgbs[p]?\d?-\d+|partridge-\d|wachters\+f|crenbl|pvdz|extrapolate\(.*\)|gtbas\d|gtlarge|gtmp2large\w*|shc\*?",
    re.IGNORECASE,
)
FITTING = re.compile(
    r".*(?:/(?:c|j|jk|k|cabs|opt)|-cabs|-optri|-jkfit|-rifit|-mp2fit|fit|aux)$", re.IGNORECASE
)  # helper sets, not the basis
DISPERSION = {
    "d2": "D2", "gd2": "D2", "d3": "D3(BJ)", "d3bj": "D3(BJ)", "gd3bj": "D3(BJ)", "d3(bj)": "D3(BJ)", "d3zero": "D3", "d3(0)": "D3", "gd3": "D3",
    "d4": "D4", "nl": "VV10", "scnl": "VV10", "vv10": "VV10", "novdw": "none", "pfd": "PFD", "none": "none",
}  # fmt: skip
# what a functional brings with it in its name, in these programs
BUILT_IN = (
    (re.compile(r"w?b97(?:x|m)?-?d4|.*-d4(?:rev)?(?:/2021)?|r2scan-3c|wb97x-3c", re.IGNORECASE), "D4"),
    (re.compile(r"wb97x-?d3", re.IGNORECASE), "D3"),
    (re.compile(r"b97-?d3|b2plypd3|b2plyp-d3|(?:rev)?dsdpbep86|.*-?d3\(?bj\)?|hf-3c|pbeh-3c|b97-3c|b3lyp-3c", re.IGNORECASE), "D3(BJ)"),
    (re.compile(r".*-d3(?:zero|0)?\w*", re.IGNORECASE), "D3"),
    (re.compile(r"wb97x-?d|b97-?d|b2plyp-?d|mpw2plyp-?d", re.IGNORECASE), "D2"),
    (re.compile(r"wb97[xm]-v|b97m-v", re.IGNORECASE), "VV10"),
    (re.compile(r"apfd", re.IGNORECASE), "PFD"),
)


def is_method(word: str) -> bool:
    """Say whether a word names a functional or a method."""
    return word.lower() in FUNCTIONALS or word.lower() == "hf" or CORRELATED.fullmatch(word) is not None


def is_basis(word: str) -> bool:
    """Say whether a word names the basis set, and not one that helps with its integrals."""
    return BASIS.fullmatch(word) is not None and not FITTING.fullmatch(word)


def only(words: Iterable[str]) -> str | None:
    """The one word that all of these are, whatever their case; None where there is none, or several that differ."""
    found = {word.lower(): word for word in reversed(list(words))}
    return next(iter(found.values())) if len(found) == 1 else None


def built_in_dispersion(functional: str | None) -> str | None:
    """The dispersion correction that is part of a functional of this name; None where the name says nothing of one."""
    return next((kind for pattern, kind in BUILT_IN if pattern.fullmatch(functional or "")), None)
