"""Values of which some fields are never printed: they may hold keys, or what somebody said."""

from typing import ClassVar


class PartlyPrinted:
    """Of a struct: prints its fields, but for those that it names in `HIDDEN`."""

    __slots__ = ()
    __struct_fields__: ClassVar[tuple[str, ...]]
    HIDDEN: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        fields = (name for name in self.__struct_fields__ if name not in self.HIDDEN)
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"


class Unprinted:
    """Of a struct that is no value but somebody's state: prints no field."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
