"""The commands on keys: make them, and say who may subscribe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from eventveil.cli.options import JsonOption, print_json, say, stdout

KeysOption = Annotated[Path, typer.Option("--keys", metavar="DIR", help="The publisher's folder of keys.")]
DEFAULT = Path("keys")


def register(app: typer.Typer) -> None:
    """Add the `keys` commands to the program."""
    keys = typer.Typer(
        no_args_is_help=True, help="Keys: encrypt what is published, and say who may subscribe (docs/security.md)."
    )
    keys.command("new")(new)
    keys.command("allow")(allow)
    keys.command("list")(show)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="keys")


def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; nobody but you may enter it.")],
    name: Annotated[str | None, typer.Option(help="Who that is; the folder's name unless said.")] = None,
    json: JsonOption = False,
) -> None:
    """Make keys for a publisher or a subscriber: a secret one that stays here, and a public one to hand out.

    Example, on the publisher's machine:  eventveil keys new keys

    On a subscriber's:  eventveil keys new alice   and hand alice/alice.pub to the publisher's operator
    """
    from eventveil.stream.protocol.keys import SECRET, new_keys, read_public

    public = new_keys(folder, name)
    secret = folder / SECRET
    if json:
        print_json({"public": str(public), "secret": str(secret), "key": read_public(public).key.decode()})
        return
    say(f"{secret}: secret, for your eyes alone")
    say(f"{public}: public, to be handed out, on a way that nobody can change it on")
    say(f"A line publishes with them by  --set publish.keys={folder}  and lets in whom `eventveil keys allow` names;")
    say(f"a subscriber uses them by  --server-key PUBLISHER.pub --key {secret}")


def allow(
    clients: Annotated[list[Path], typer.Argument(metavar="CLIENT.pub...", help="Public keys, as `keys new` made.")],
    keys: KeysOption = DEFAULT,
) -> None:
    """Let subscribers in. A line that runs knows of them within two seconds.

    Example:  eventveil keys allow alice.pub --keys keys
    """
    from eventveil.stream.protocol.keys import AllowList, read_folder, read_public

    read_folder(keys)
    listed = AllowList(keys)
    for client in clients:
        path = listed.allow(read_public(client))
        say(f"{path}: may subscribe")


def show(keys: KeysOption = DEFAULT, json: JsonOption = False) -> None:
    """Tell who may subscribe: names and public keys."""
    from eventveil.stream.protocol.keys import AllowList, read_folder

    own = read_folder(keys).public.decode()
    listed = {name: key.decode() for key, name in AllowList(keys).read().items()}
    if json:
        print_json({"publisher": own, "allowed": listed})
        return
    stdout.print(f"publisher  {own}", markup=False)
    for name, key in sorted(listed.items()):
        stdout.print(f"allowed    {key}  {name}", markup=False)
    if not listed:
        say(f"nobody may subscribe yet; eventveil keys allow CLIENT.pub --keys {keys}")


def revoke(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names, as `keys list` tells them.")],
    keys: KeysOption = DEFAULT,
) -> None:
    """Let subscribers in no longer. A line that runs throws them out within two seconds.

    To do so it gives its address up for a moment: the others come back by themselves, and may miss some windows, which
    they count as lost by the network.

    Example:  eventveil keys revoke alice --keys keys
    """
    from eventveil.stream.protocol.keys import AllowList, read_folder

    read_folder(keys)
    listed = AllowList(keys)
    for name in names:
        listed.revoke(name.removesuffix(".pub"))
        say(f"{name}: may subscribe no longer")
