"""Griffe extension: a class whose fields are its arguments shows them as its signature, and methods that a class has
because its protocol asks for them are documented at the protocol only."""

from typing import cast

from griffe import Alias, Attribute, Class, Extension, Function, Module, Parameter, ParameterKind, Parameters


def _bases(cls: Class) -> list[Class]:
    """The bases inside the library, nearest first."""
    found = []
    for base in cls.resolved_bases:
        base = base.final_target if isinstance(base, Alias) else base
        if isinstance(base, Class) and base.path.startswith("sciml."):
            found += [base, *_bases(base)]
    return found


def _is_abstract(cls: Class) -> bool:
    return cls.name.startswith("Abstract")


def _arguments(cls: Class) -> dict[str, Parameter]:
    arguments: dict[str, Parameter] = {}
    for one in [*reversed(_bases(cls)), cls]:
        for member in one.members.values():
            if not isinstance(member, Attribute) or member.annotation is None or "property" in member.labels:
                continue
            if "ClassVar" in str(member.annotation) or "AbstractVar" in str(member.annotation):
                continue
            if "class-attribute" in member.labels and "instance-attribute" not in member.labels:
                continue
            default = member.value
            if "field(" in str(default):
                given = [a.value for a in getattr(default, "arguments", []) if getattr(a, "name", "") == "default"]
                made = [
                    a.value for a in getattr(default, "arguments", []) if getattr(a, "name", "") == "default_factory"
                ]
                default = given[0] if given else (f"{made[0]}()" if made else None)
            kind = ParameterKind.positional_or_keyword
            arguments[member.name] = Parameter(member.name, annotation=member.annotation, kind=kind, default=default)
    return arguments


def _treat(cls: Class) -> None:
    bases = _bases(cls)
    if "__init__" not in cls.members and not _is_abstract(cls) and (arguments := _arguments(cls)):
        self_ = Parameter("self", kind=ParameterKind.positional_or_keyword)
        init = Function("__init__", lineno=0, endlineno=0, parent=cls, returns="None")
        init.parameters = Parameters(self_, *arguments.values())
        cls.set_member("__init__", init)
    asked = {name for base in bases if _is_abstract(base) for name in base.members}
    for name, member in cls.members.items():
        if name in asked and not _is_abstract(cls) and name != "__init__":
            member.public = False
        if name == "__check_init__":
            member.public = False


def _walk(module: Module) -> None:
    for member in list(module.members.values()):
        if isinstance(member, Class):
            _treat(cast(Class, member))
        elif isinstance(member, Module):
            _walk(member)


class FieldsExtension(Extension):
    """Treats every class of the package once it is loaded."""

    def on_package(self, *, pkg: Module, **_) -> None:
        """After all modules were read."""
        if pkg.name == "sciml":
            _walk(pkg)
