"""What a person reads from the session's start, in French and English."""

from __future__ import annotations

import re
from typing import Mapping

MESSAGES: dict[str, dict[str, str]] = {
    "credentials.wait": {"en": "Waiting for credentials", "fr": "Attente des identifiants d'accès"},
    "credentials.ok": {"en": "Credentials are in place", "fr": "Les identifiants d'accès sont en place"},
    "credentials.missing": {
        "en": "No credentials yet: they will appear in the session once the hub answers",
        "fr": "Pas encore d'identifiants d'accès : ils apparaîtront dès que le hub répondra",
    },
    "git.running": {"en": "Cloning {url}", "fr": "Clonage de {url}"},
    "git.ok": {"en": "Cloned {url} into {folder}", "fr": "{url} cloné dans {folder}"},
    "git.there": {
        "en": "{folder} is already there and was left as it is",
        "fr": "{folder} existe déjà et n'a pas été modifié",
    },
    "git.bad-url": {
        "en": "The Git repository's address is not one of https://, http://, ssh:// or git@host:path",
        "fr": "L'adresse du dépôt Git n'est pas de la forme https://, http://, ssh:// ou git@hôte:chemin",
    },
    "git.bad-branch": {
        "en": "{branch} is not a valid name of a branch or tag",
        "fr": "{branch} n'est pas un nom de branche ou d'étiquette valide",
    },
    "git.missing": {
        "en": "There is no git command in this session",
        "fr": "La commande git n'existe pas dans cette session",
    },
    "git.timeout": {
        "en": "The clone of {url} was stopped after {seconds} seconds",
        "fr": "Le clonage de {url} a été arrêté après {seconds} secondes",
    },
    "git.failed": {"en": "{url} could not be cloned", "fr": "{url} n'a pas pu être cloné"},
    "git.advice": {
        "en": "Check the address, the branch, and the token of your Git account, then run in a terminal:",
        "fr": "Vérifiez l'adresse, la branche et le jeton de votre compte Git, puis lancez :",
    },
    "init.running": {"en": "Running the init script", "fr": "Exécution du script d'initialisation"},
    "init.ok": {"en": "The init script ended well", "fr": "Le script d'initialisation s'est bien terminé"},
    "init.bad-url": {
        "en": "The init script's address is not an http:// or https:// URL",
        "fr": "L'adresse du script d'initialisation n'est pas une URL http:// ou https://",
    },
    "init.bad-args": {
        "en": "The init script's arguments could not be split: a quote is not closed",
        "fr": "Les arguments du script d'initialisation sont illisibles : un guillemet n'est pas fermé",
    },
    "init.download": {
        "en": "The init script could not be downloaded from {url}: {reason}",
        "fr": "Le script d'initialisation n'a pas pu être téléchargé depuis {url} : {reason}",
    },
    "init.too-large": {
        "en": "The init script at {url} is larger than {size} KiB",
        "fr": "Le script d'initialisation {url} dépasse {size} Kio",
    },
    "init.timeout": {
        "en": "The init script was stopped after {seconds} seconds",
        "fr": "Le script d'initialisation a été arrêté après {seconds} secondes",
    },
    "init.failed": {
        "en": "The init script ended with status {status}",
        "fr": "Le script d'initialisation s'est terminé avec le statut {status}",
    },
    "init.log": {"en": "Its whole output is in {path}.", "fr": "Toute sa sortie est dans {path}."},
    "disk.failed": {
        "en": "{path} could not be written: {reason}",
        "fr": "Impossible d'écrire {path} : {reason}",
    },
    "explain.title": {
        "en": "What did not work at this session's start",
        "fr": "Ce qui n'a pas fonctionné au démarrage",
    },
    "explain.intro": {
        "en": "The session itself works. This file goes away at the next start at which all goes well.",
        "fr": "La session elle-même fonctionne. Ce fichier disparaît au prochain démarrage sans erreur.",
    },
    "explain.output": {"en": "The end of the output:", "fr": "Fin de la sortie :"},
    "notice": {
        "en": "Something went wrong when this session was set up: {summary}. Details: {path}",
        "fr": "La préparation de cette session a rencontré un problème : {summary}. Détails : {path}",
    },
    "command.failed": {
        "en": "{command} could not be started: {reason}",
        "fr": "{command} n'a pas pu être lancé : {reason}",
    },
    "status.none": {
        "en": "There is no status: the agent has not run yet",
        "fr": "Pas d'état : l'agent n'a pas encore tourné",
    },
    "status.ok": {"en": "Everything is fresh", "fr": "Tout est à jour"},
    "status.starting": {
        "en": "The first credentials are on their way",
        "fr": "Les premiers identifiants arrivent",
    },
    "status.degraded": {
        "en": "Something could not be renewed",
        "fr": "Quelque chose n'a pas pu être renouvelé",
    },
    "status.failing": {"en": "Credentials have expired", "fr": "Des identifiants ont expiré"},
    "status.denied": {
        "en": "The hub no longer accepts this session: stop it and start it again",
        "fr": "Le hub n'accepte plus cette session : arrêtez-la puis relancez-la",
    },
    "status.source": {
        "en": "{name}: {state}, valid until {until}",
        "fr": "{name} : {state}, valable jusqu'à {until}",
    },
    "status.source-endless": {"en": "{name}: {state}", "fr": "{name} : {state}"},
    "status.hub": {"en": "hub: {message}", "fr": "hub : {message}"},
    "status.next": {"en": "next renewal: {moment}", "fr": "prochain renouvellement : {moment}"},
    "state.ok": {"en": "valid", "fr": "valable"},
    "state.failing": {"en": "valid, but not renewed", "fr": "valable, mais non renouvelé"},
    "state.expired": {"en": "expired", "fr": "expiré"},
    "state.missing": {"en": "missing", "fr": "absent"},
    "refresh.no-agent": {
        "en": "The agent of this session did not answer in time",
        "fr": "L'agent de cette session n'a pas répondu à temps",
    },
}


class Messages:
    """Messages in one language.

    Parameters
    ----------
    language
        ``fr`` or ``en``; anything else is ``en``.
    """

    def __init__(self, language: str = "en") -> None:
        self.language = language if language == "fr" else "en"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Messages:
        """Take the language of ``SARDONYX_LANG``, else of the locale (``LC_ALL``, ``LANG``)."""
        for name in ("SARDONYX_LANG", "LC_ALL", "LANG"):
            if environ.get(name):
                return cls(environ[name][:2].lower())
        return cls()

    def __call__(self, key: str, **values: object) -> str:
        """Return a message with its values filled in.

        Raises
        ------
        KeyError
            If there is no such message, or a value is missing.
        """
        # One pass, and no str.format: a value may hold braces.
        return re.sub(r"\{(\w+)\}", lambda gap: str(values[gap.group(1)]), MESSAGES[key][self.language])
