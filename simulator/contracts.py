"""A small contract master per segment, in the columns that the broker publishes (contract §10)."""

from collections.abc import Iterator

_COLUMNS = (
    "Exch,Symbol,Token,Trading Symbol,Group Name,Instrument Type,Instrument Name,Option Type,Strike Price,"
    "Expiry Date,Lot Size,Tick Size"
)
_NSE = "IDEA:14366 TATASTEEL:3499 HDFCBANK:1333 INFY:1594 SBIN:3045 ITC:1660 RELIANCE:2885 TCS:11536 WIPRO:3787"
_BSE = "IDEA:532822 TATASTEEL:500470 HDFCBANK:500180 INFY:500209 SBIN:500112 ITC:500875"

SEGMENTS = ("nse", "bse", "nfo", "bfo", "cds", "bcd", "mcx", "indices")


def csv_of(segment: str) -> str:
    """Return the file of a segment, rows of blanks at its end included."""
    if segment == "indices":
        return "exch,symbol,token\nNSE,NIFTY 50,26000\nNSE,NIFTY BANK,26009\nBSE,SENSEX,1\n"
    return "\n".join([_COLUMNS, *_rows(segment), "," * _COLUMNS.count(",")]) + "\n"


def _rows(segment: str) -> Iterator[str]:
    match segment:
        case "nse":
            yield from (f"NSE,{name},{token},{name}-EQ,EQ,,,XX,,,1,0.05" for name, token in _pairs(_NSE))
        case "bse":
            yield from (f"BSE,{name},{token},{name},A,,,XX,,,1,0.05" for name, token in _pairs(_BSE))
        case "nfo":
            yield "NFO,NIFTY,54950,NIFTY29DEC26F,,FUTIDX,NIFTY 29DEC26 FUT,XX,,2026-12-29,75,0.05"
            yield from _options("NFO", "NIFTY", 54957, 26_000, "2026-12-29", 75)
        case "bfo":
            yield from _options("BFO", "SENSEX", 84_001, 85_000, "2026-12-31", 20)
        case "cds":
            yield "CDS,JPYINR,11771,JPYINR29DEC26F,,FUTCUR,JPYINR 29DEC26 FUT,XX,,29-12-2026,1000,0.0025"
        case "bcd":
            yield "BCD,USDINR,20501.0,USDINR29DEC26F,,FUTCUR,USDINR 29DEC26 FUT,XX,,2026-12-29,1000,0.0025"
        case _:
            yield "MCX,SILVERM,239484,SILVERM26NOVFUT,,FUTCOM,SILVERM 30NOV26 FUT,XX,,2026-11-30,5,1"


def _options(exchange: str, name: str, first_token: int, middle: int, expiry: str, lot: int) -> Iterator[str]:
    month = "26DEC"
    for step in range(12):
        kind, strike = ("CE", "PE")[step % 2], middle + 100 * (step // 2)
        symbol = f"{name}{month}{strike}{kind}"
        yield (
            f"{exchange},{name},{first_token + step}.0,{symbol},,OPTIDX,{name} {strike} {kind},{kind},{strike}.0,"
            f"{expiry},{lot},0.05"
        )


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split():
        name, _, token = pair.partition(":")
        yield name, token
