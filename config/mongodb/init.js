// Brings the replica set, the roles and the users of access.json in order. Run again, it gives everybody the roles of
// access.json and the passwords of the files, and adds members that are missing; nothing else is touched.
//
// For mongosh, connected to the first member from that very machine: to a server without users MongoDB lets only those
// in who sit at it, to create the first. MEMBERS in the environment names all members, host:port separated by commas;
// SECRETS the directory with the passwords: mongodb/password is root's, USER/password that of each other user.

const fs = require('fs');

const members = process.env.MEMBERS.split(',');
const passwordOf = (user) => fs.readFileSync(`${process.env.SECRETS}/${user}/password`, 'utf8').trim();
const access = JSON.parse(fs.readFileSync(`${__dirname}/access.json`, 'utf8'));
const root = { user: 'root', pwd: passwordOf('mongodb') };

// For what takes a while, such as an election.
function until(what, isDone) {
  for (let attempt = 0; attempt < 120; attempt++) {
    if (isDone()) return;
    sleep(500);
  }
  throw new Error(`still no ${what} after a minute; the log of each mongod says why`);
}

function isRoot() {
  try {
    return db.getSiblingDB('admin').auth(root).ok === 1;
  } catch (error) {
    if (error.codeName === 'AuthenticationFailed') return false;
    throw error;
  }
}

// One member alone is always primary, so that the first user can be created; the others then copy from it.
const isNew = !db.hello().setName;
if (isNew) {
  rs.initiate({ _id: 'rs0', members: [{ _id: 0, host: members[0] }] });
}
if (isNew || !isRoot()) {
  until(`primary at ${members[0]}`, () => db.hello().isWritablePrimary);
  db.getSiblingDB('admin').createUser({ ...root, roles: ['root'] });
  isRoot();
}
for (const host of members.filter((host) => !rs.conf().members.some((known) => known.host === host))) {
  until(`member ${host}`, () => {
    try {
      return rs.add(host).ok === 1;
    } catch (error) {
      // The set is taking in the member before this one.
      if (['ConfigurationInProgress', 'NewReplicaSetConfigurationIncompatible'].includes(error.codeName)) return false;
      throw error;
    }
  });
}

// The primary may be another one by now.
db = connect(`mongodb://${root.user}:${root.pwd}@${members.join(',')}/admin?replicaSet=rs0`);
for (const { role, db: name, ...grants } of access.roles) {
  const home = db.getSiblingDB(name);
  home.getRole(role) ? home.updateRole(role, grants) : home.createRole({ role, ...grants });
}
for (const { user, roles } of access.users) {
  const pwd = passwordOf(user);
  const wanted = { pwd, roles, mechanisms: ['SCRAM-SHA-256'] };
  db.getUser(user) ? db.updateUser(user, wanted) : db.createUser({ user, ...wanted });
}
print(`replica set rs0 of ${members.join(', ')}: ${access.roles.length} roles, ${access.users.length} users in order`);
