// Sentry's API on undici, and the dataloaders of a request.
import DataLoader from "dataloader";
import { Pool } from "undici";

const PREFIX = "/api/0/";
const HEADERS = { authorization: "Bearer bench" };

class Sentry {
  constructor(origin, connections) {
    this.pool = new Pool(origin, { connections: 100 });
    this.rows = connections;
    this.byId = new Map(connections.map((row) => [row.id, row]));
  }

  connections(customerId) {
    return customerId === undefined ? this.rows : this.rows.filter((row) => row.customerId === customerId);
  }

  async get(connectionId, path, query = {}) {
    const full = PREFIX + path.replace("{organization}", this.byId.get(connectionId).organization);
    const { statusCode, headers, body } = await this.pool.request({
      method: "GET",
      path: full,
      query,
      headers: HEADERS,
    });
    if (statusCode !== 200) throw new Error(`${full}: ${statusCode}`);
    return { statusCode, headers, json: await body.json() };
  }

  async proxy(connectionId, path) {
    const { statusCode, json } = await this.get(connectionId, path);
    return { statusCode, result: json };
  }

  async page(connectionId) {
    const { headers, json } = await this.get(connectionId, "organizations/{organization}/members/", { per_page: 100 });
    return {
      users: json.map((row) => toUser(connectionId, row)),
      hasNext: /rel="next"; results="true"/.test(headers.link),
    };
  }

  async find(connectionId, memberIds) {
    const query = memberIds.map((memberId) => `id:${memberId}`).join(" ");
    const { json } = await this.get(connectionId, "organizations/{organization}/members/", { query, per_page: 100 });
    return json.map((row) => toUser(connectionId, row));
  }

  async walk(connectionId) {
    const suffix = connectionId.slice(4);
    const query = { detailed: 0, per_page: 100 };
    const { json: teams } = await this.get(connectionId, "organizations/{organization}/teams/", query);
    const walks = await Promise.all(
      teams.map((team) => this.get(connectionId, `teams/{organization}/${team.slug}/members/`, { per_page: 100 })),
    );
    const found = new Map();
    teams.forEach((team, index) => {
      const group = { id: `grp_${suffix}_${team.id}`, externalId: team.id, slug: team.slug, name: team.name };
      for (const row of walks[index].json) {
        const groups = found.get(row.id);
        if (groups) groups.push(group);
        else found.set(row.id, [group]);
      }
    });
    return found;
  }

  async detail({ connectionId, sentryMemberId }) {
    const { json } = await this.get(connectionId, `organizations/{organization}/members/${sentryMemberId}/`);
    delete json.invite_link; // whoever has it can join
    return json;
  }
}

function toUser(connectionId, row) {
  const suffix = connectionId.slice(4);
  const user = row.user ?? {};
  let status = row.flags["member-limit:restricted"] ? "RESTRICTED" : "ACTIVE";
  if (row.pending) status = row.expired ? "EXPIRED" : "INVITED";
  return {
    __typename: "User",
    id: `usr_${suffix}_${row.id}`,
    connectionId,
    externalId: user.id ?? null,
    sentryMemberId: row.id,
    name: row.name === row.email ? null : row.name,
    firstName: null,
    lastName: null,
    username: user.username ?? null,
    email: row.email,
    title: null,
    status,
    isEmailVerified: user.emails?.find(({ email }) => email === row.email)?.is_verified ?? null,
    isTwoFactorEnabled: user.has2fa ?? null,
    avatarUrl: user.avatarUrl ?? null,
    roles: [
      {
        id: `rol_${suffix}_${row.orgRole}`,
        externalId: row.orgRole,
        name: row.roleName,
        group: null,
        organization: `org_${suffix}`,
      },
    ],
    createdAt: row.dateCreated,
    lastLoginAt: user.lastLogin ?? null,
    lastActiveAt: user.lastActive ?? null,
  };
}

function makeLoaders(sentry) {
  return {
    pages: new DataLoader((ids) => Promise.all(ids.map((id) => sentry.page(id)))),
    users: new DataLoader(async (ids) => {
      const wanted = new Map();
      for (const id of ids) {
        const [, suffix, memberId] = id.split("_");
        const members = wanted.get(`con_${suffix}`);
        if (members) members.push(memberId);
        else wanted.set(`con_${suffix}`, [memberId]);
      }
      const found = await Promise.all([...wanted].map(([connectionId, ids]) => sentry.find(connectionId, ids)));
      const byId = new Map(found.flat().map((user) => [user.id, user]));
      return ids.map((id) => byId.get(id) ?? null);
    }),
    groups: new DataLoader(async (users) => {
      const connectionIds = [...new Set(users.map((user) => user.connectionId))];
      const walks = await Promise.all(connectionIds.map((id) => sentry.walk(id)));
      const byConnection = new Map(connectionIds.map((id, index) => [id, walks[index]]));
      return users.map((user) => byConnection.get(user.connectionId).get(user.sentryMemberId) ?? []);
    }),
    details: new DataLoader((users) => Promise.all(users.map((user) => sentry.detail(user)))),
  };
}

const sentry = new Sentry(process.env.BENCH_UPSTREAM, JSON.parse(process.env.BENCH_CONNECTIONS));

export const makeContext = () => ({ sentry, loaders: makeLoaders(sentry) });
