"""The instructions of the kernels' vector loops, counted in their machine code.

Compiling needs NVRTC and counting needs nvdisasm, so the counts are kept here; tests/test_counts.py
counts again and says which lines are out of date. They are those for 32 bytes of each array in a
lane: one turn of the loop, or two. Where it branches, in the formulas, both ways are counted.
"""

from typing import NamedTuple, TypeAlias

Case: TypeAlias = tuple[str, str, str]
"""A dtype, a kind of table and a function. "product" is z·f(x) with a gate table; "formula" and
"fast" are without a table, in this library's loop: kernels/formula.cu."""

ARCHITECTURES = 80, 86, 90, 100

LOOP_BYTES = 32  # of each array that the counts are for


class Count(NamedTuple):
    """All instructions of a loop, and those that each unit of the GPU executes.

    fma: float32 multiply-adds, and integer ones; alu: integers, comparisons, selection; special:
    reciprocals, exponentials and some conversions; double: double precision.
    """

    instructions: int
    fma: int
    alu: int
    special: int
    double: int


# A Count for each of ARCHITECTURES; of NVRTC 13.5.
_TABLE = """
float16  linear     gelu          131/67/43/0/0    130/67/42/0/0    148/69/58/0/0    148/72/52/0/0
bfloat16 linear     gelu          139/61/57/0/0    138/61/56/0/0    156/71/64/0/0    157/68/65/0/0
float32  linear     gelu           63/29/21/0/0     66/32/21/0/0     73/34/25/0/0     76/32/28/0/0
float64  linear     gelu         141/46/46/0/40   137/42/46/0/40   140/45/46/0/40   146/39/48/0/40
float16  direct     gelu         188/53/114/0/0   186/51/114/0/0   189/54/114/0/0   191/59/105/0/0
bfloat16 direct     gelu         228/45/162/0/0   228/45/162/0/0   189/46/122/0/0   191/51/113/0/0
float16  full       gelu           67/20/26/0/0     66/19/26/0/0     67/20/26/0/0     67/19/25/0/0
bfloat16 full       gelu           67/20/26/0/0     66/19/26/0/0     67/20/26/0/0     67/19/25/0/0
float16  compact    gelu         227/114/44/0/0   226/114/43/0/0   245/115/61/0/0   244/114/58/0/0
float16  compact    silu         243/114/60/0/0   242/114/59/0/0   261/115/77/0/0   260/115/73/0/0
bfloat16 compact    gelu         251/130/68/0/0   250/130/67/0/0   270/131/86/0/0   268/130/82/0/0
bfloat16 compact    gelu_tanh    268/146/69/0/0   267/146/68/0/0   285/147/85/0/0   284/146/82/0/0
bfloat16 compact    silu         300/146/85/0/0   299/146/84/0/0  317/147/101/0/0   317/146/99/0/0
float32  gate       gelu          171/98/44/0/0    170/98/43/0/0    172/98/45/0/0    171/98/42/0/0
float32  gate       silu          163/98/36/0/0    162/98/35/0/0    164/98/37/0/0    164/98/34/0/0
float32  polynomial mish        297/118/118/0/0  297/117/119/0/0  297/119/117/0/0  321/122/131/0/0
float64  polynomial gelu         265/25/91/0/92   260/20/91/0/92  269/21/90/0/100   312/57/90/0/95
float16  product    silu         392/248/82/0/0   392/248/82/0/0   390/246/80/0/0   379/245/75/0/0
bfloat16 product    silu         248/84/134/0/0   248/84/134/0/0   266/96/136/0/0   250/94/129/0/0
float32  product    silu         192/112/42/0/0   192/112/42/0/0   190/110/40/0/0   178/109/34/0/0
float16  formula    gelu       444/261/162/16/0 444/257/166/16/0 444/261/162/16/0 443/262/158/16/0
float16  formula    gelu_tanh   373/259/77/32/0  371/258/76/32/0  372/258/77/32/0  375/260/75/32/0
float16  formula    silu       433/242/105/32/0 449/226/137/32/0 444/243/115/32/0 454/242/109/32/0
bfloat16 formula    gelu       453/246/186/16/0 452/241/190/16/0 453/245/187/16/0 452/246/183/16/0
bfloat16 formula    gelu_tanh  382/243/102/32/0 379/242/100/32/0 381/243/101/32/0  383/244/99/32/0
bfloat16 formula    silu       441/226/129/32/0 457/210/161/32/0 452/227/139/32/0 462/226/133/32/0
float32  formula    gelu         219/125/81/8/0   218/121/84/8/0   220/125/82/8/0   225/129/77/8/0
float32  formula    gelu_tanh   180/123/36/16/0  178/122/35/16/0  180/122/37/16/0  181/123/35/16/0
float32  formula    silu        211/108/57/16/0  211/106/59/16/0  216/109/61/16/0  229/114/60/16/0
float16  fast       gelu         132/99/12/16/0   130/98/11/16/0   132/98/13/16/0   132/99/10/16/0
float16  fast       gelu_tanh    132/99/12/16/0   130/98/11/16/0   132/98/13/16/0   132/99/10/16/0
float16  fast       silu         116/67/12/32/0   114/66/11/32/0   116/66/13/32/0   122/69/10/32/0
bfloat16 fast       gelu         141/83/37/16/0   140/82/37/16/0   141/83/37/16/0   141/83/35/16/0
bfloat16 fast       gelu_tanh    141/83/37/16/0   140/82/37/16/0   141/83/37/16/0   141/83/35/16/0
bfloat16 fast       silu         125/51/37/32/0   122/50/35/32/0   124/50/37/32/0   130/53/34/32/0
float32  fast       gelu            60/43/4/8/0      58/42/3/8/0      60/42/5/8/0      60/43/2/8/0
float32  fast       gelu_tanh       60/43/4/8/0      58/42/3/8/0      60/42/5/8/0      60/43/2/8/0
float32  fast       silu           52/27/4/16/0     50/26/3/16/0     52/26/5/16/0     51/26/2/16/0
"""


def parse(table: str) -> dict[Case, dict[int, Count]]:
    """The counts in lines like those above, by case and architecture."""
    found = {}
    for line in table.strip().splitlines():
        dtype, kind, function, *cells = line.split()
        counts = (Count(*map(int, cell.split("/"))) for cell in cells)
        found[dtype, kind, function] = dict(zip(ARCHITECTURES, counts, strict=True))
    return found


COUNTS = parse(_TABLE)
