"""Rights from grants: pure, for the people in memory and for those in the database.

A person has the grants that name them, those of their groups, and those of the projects that their
groups own.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from app.access.models import Grant
from app.access.people.models import Project, Role, RoleGrant
from app.access.people.roles import BUILT_IN
from app.access.permissions import Rights


class GrantBook:
    """The roles, grants and projects in force, by holder.

    A grant of an unknown role gives nothing: a newer release may know the role's scopes.
    """

    def __init__(
        self,
        roles: Iterable[Role] = (),
        grants: Iterable[RoleGrant] = (),
        projects: Iterable[Project] = (),
    ) -> None:
        # A row cannot replace a role that is built in.
        self.roles: Mapping[str, Role] = {**{role.name: role for role in roles}, **BUILT_IN}
        self.projects = tuple(projects)
        self.grants = tuple(grants)
        self._of_people: dict[str, list[RoleGrant]] = {}
        self._of_groups: dict[str, list[RoleGrant]] = {}
        for grant in (*self.grants, *(project.ownership for project in self.projects)):
            if grant.group_name is not None:
                self._of_groups.setdefault(grant.group_name, []).append(grant)
            elif grant.person_id is not None:
                self._of_people.setdefault(grant.person_id, []).append(grant)

    @property
    def people(self) -> Collection[str]:
        """The IDs of people with grants of their own."""
        return self._of_people.keys()

    @property
    def groups(self) -> Collection[str]:
        """The groups with grants or projects."""
        return self._of_groups.keys()

    def held_by(self, person_id: str, groups: Iterable[str]) -> Sequence[RoleGrant]:
        """Return the grants of a person, those that name them first."""
        held = [*self._of_people.get(person_id, ())]
        for group in groups:
            held += self._of_groups.get(group, ())
        return held

    def of_group(self, group: str) -> Sequence[RoleGrant]:
        return self._of_groups.get(group, [])

    def rights(self, person_id: str, groups: Iterable[str]) -> Rights:
        """Return the union of a person's grants."""
        return self.union(self.held_by(person_id, groups))

    def union(self, held: Iterable[RoleGrant]) -> Rights:
        """Return the rights that these grants give together.

        Grants that differ in the prefix alone become one: a person may have thousands of them.
        """
        prefixes: dict[tuple[str, frozenset[str]], set[str]] = {}
        for grant in held:
            prefixes.setdefault((grant.role, grant.environments), set()).add(grant.prefix)
        return Rights(
            Grant(
                scopes=self.roles[role].scopes,
                environments=environments,
                prefixes=frozenset(below),
                expires_at=None,
            )
            for (role, environments), below in prefixes.items()
            if role in self.roles
        )

    def given(self, held: RoleGrant) -> Grant:
        """Return the scopes, environments and prefix of a grant whose role is known."""
        return Grant(
            scopes=self.roles[held.role].scopes,
            environments=held.environments,
            prefixes=frozenset({held.prefix}),
            expires_at=None,
        )
