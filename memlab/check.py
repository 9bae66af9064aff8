from typing import Any
class Corruption(Exception): pass
def check(m: Any) -> list[Any]: return []
