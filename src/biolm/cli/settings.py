"""Command-line options made from a configuration dataclass: one place says what a setting is."""

import ast
import dataclasses
import difflib
import inspect
import textwrap
import types
import typing
from collections.abc import Callable
from typing import Any

import click

from biolm.errors import ConfigError


def settings_options(
    config: type, choices: dict[str, tuple[str, ...]], without: tuple[str, ...] = ()
) -> Callable[[Any], Any]:
    """A decorator: one option for each field of `config`, with the line under the field as its help.

    Options that are not given arrive as None; `given` drops them. `none` stands for None where a field
    may be None; several words are separated by commas; a truth is a flag. Fields in `without` get no option.
    """
    docs, hints = field_docs(config), typing.get_type_hints(config)

    def decorate(command: Any) -> Any:
        for field in reversed(dataclasses.fields(config)):
            if field.name in without:
                continue
            if hints[field.name] is bool:
                name = field.name.replace("_", "-")
                flag = f"--{name}/--no-{name}" if field.default else f"--{name}"
                command = click.option(flag, is_flag=True, default=None, help=docs[field.name])(command)
                continue
            option = click.option(
                f"--{field.name.replace('_', '-')}",
                type=_parameter(hints[field.name], choices.get(field.name)),
                default=None,
                help=f"{docs[field.name]}  [default: {spell(field.default)}]",
            )
            command = option(command)
        return command

    return decorate


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that were given on the command line."""
    return {name: None if value is _NONE else value for name, value in settings.items() if value is not None}


def parse_settings(
    config: type, choices: dict[str, tuple[str, ...]], pairs: tuple[str, ...]
) -> dict[str, Any]:
    """Settings from "key=value" (a key as in the class, or spelled as its option); of the same key the last counts.

    Values are read as the options' are; a truth is yes or no. Raises ConfigError for what is no pair, a key that
    `config` has not (with those that are near), or a value that is not of its type.
    """
    hints = typing.get_type_hints(config)
    names = [field.name for field in dataclasses.fields(config)]
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        name = key.strip().replace("-", "_")
        if not equals:
            raise ConfigError(f"--set {pair}: give KEY=VALUE, such as lr_peak=1e-4")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "`biolm recipes bio-lm` lists them"
            raise ConfigError(f"--set {pair}: there is no setting {key.strip()!r}; {hint}")
        read = click.BOOL if hints[name] is bool else _parameter(hints[name], choices.get(name))
        try:
            settings[name] = read.convert(value.strip(), None, None)
        except click.BadParameter as error:
            raise ConfigError(f"--set {pair}: {error.message.rstrip('.')}") from None
    return given(settings)


def field_docs(config: type) -> dict[str, str]:
    """The string under each field of a dataclass, on one line."""
    docs: dict[str, str] = {}
    for base in config.__mro__[-2:0:-1]:  # those that it extends, whose fields it has too
        docs |= field_docs(base)
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(doc, ast.Expr)
            and isinstance(doc.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs


_NONE = object()


class _OrNone(click.ParamType):
    """A number, or the word `none`."""

    def __init__(self, inner: click.ParamType) -> None:
        self.inner = inner
        self.name = f"{inner.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`none` as the marker that `given` turns into None."""
        return _NONE if str(value).strip().lower() == "none" else self.inner.convert(value, param, ctx)


class _Words(click.ParamType):
    """Words separated by commas."""

    name = "word,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A tuple of the words."""
        return tuple(word.strip() for word in value.split(",") if word.strip())


def _parameter(hint: Any, choices: tuple[str, ...] | None) -> click.ParamType:
    if choices:
        return click.Choice(choices)
    if typing.get_origin(hint) is typing.Literal:
        return click.Choice(typing.get_args(hint))
    simple: dict[Any, click.ParamType] = {
        int: click.INT,
        float: click.FLOAT,
        str: click.STRING,
        tuple[str, ...]: _Words(),
    }
    if isinstance(hint, types.UnionType):
        inner = next(part for part in typing.get_args(hint) if part is not type(None))
        return _OrNone(simple[inner])
    return simple[hint]


def spell(value: Any) -> str:
    """A value as it is given on the command line; no words at all are "no other"."""
    if isinstance(value, tuple):
        return ",".join(value) or "no other"
    return "none" if value is None else str(value)
