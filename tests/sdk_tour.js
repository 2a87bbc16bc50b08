// balena's JavaScript SDK, unpatched, against a stub that runs: docs/sdk-js.md is made by it.
//
//   npm install balena-sdk
//   NODE_PATH=node_modules node tests/sdk_tour.js http://127.0.0.1:8080 EMAIL PASSWORD > docs/sdk-js.md
//
// The stub must hold a fleet `existing` with a release of one service and a device whose uuid is
// 32 times d.  Exit status 1 if a step does not hold.

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { getSdk } = require('balena-sdk');

const [apiUrl, email, password] = process.argv.slice(2);
const dataDirectory = fs.mkdtempSync(path.join(os.tmpdir(), 'sdk-'));
const sdk = getSdk({ apiUrl, dataDirectory, isBrowser: false });
const steps = [];

// `refusal`: the step must fail, with a message like this.
async function step(name, work, refusal) {
  try {
    const value = await work();
    steps.push({ name, held: !refusal, told: refusal ? 'not refused' : 'works' });
    return value;
  } catch (error) {
    const held = refusal !== undefined && refusal.test(error.message);
    const told = error.message.replace('Request error: ', '').replace(/: [0-9a-f]{32}$/, '');
    steps.push({ name, held, told: held ? `refused: ${told}` : `fails: ${told}` });
  }
}

function report() {
  fs.rmSync(dataDirectory, { recursive: true, force: true });
  const { version } = require('balena-sdk/package.json');
  console.log(`# balena's JavaScript SDK against the stub

Each method below was called on the unpatched npm package \`balena-sdk\` ${version}, pointed at
\`fieldbeat cloud\` by settings alone (\`tests/sdk_tour.js\`, run by hand):

\`\`\`js
const { getSdk } = require('balena-sdk');
const sdk = getSdk({ apiUrl: 'http://127.0.0.1:8080/' });
await sdk.auth.login({ email: '...', password: '...' });
\`\`\`

Actions were called on a device without a tunnel: the stub refuses them as the real API does.
Teams, invitations, memberships of fleets, credits and SSH keys are listed as empty and cannot be
made; device types have no instructions; there are no releases of the host OS.

| method | result |
|---|---|`);
  for (const { name, told } of steps) console.log(`| \`${name}\` | ${told} |`);
  const failed = steps.filter(({ held }) => !held);
  for (const { name, told } of failed) console.error('FAIL', name, told);
  process.exitCode = failed.length > 0 ? 1 : 0;
}

(async () => {
  const m = sdk.models;
  await step('auth.login', () => sdk.auth.login({ email, password }));
  await step('auth.isLoggedIn', () => sdk.auth.isLoggedIn());
  await step('auth.whoami', () => sdk.auth.whoami());
  await step('auth.getUserInfo', () => sdk.auth.getUserInfo());
  await step('auth.getActorId', () => sdk.auth.getActorId());
  await step('auth.getToken', () => sdk.auth.getToken());
  await step('auth.twoFactor.isEnabled', () => sdk.auth.twoFactor.isEnabled());
  await step('auth.twoFactor.isPassed', () => sdk.auth.twoFactor.isPassed());
  await step('auth.loginWithToken', async () => {
    const t = await sdk.auth.getToken();
    await sdk.auth.loginWithToken(t);
  });
  const orgs = await step('organization.getAll', () => m.organization.getAll());
  await step('organization.get', () => m.organization.get(orgs[0].handle));
  await step('deviceType.getAll', () => m.deviceType.getAll());
  await step('deviceType.get', () => m.deviceType.get('raspberrypi4-64'));
  await step('deviceType.getBySlugOrName', () => m.deviceType.getBySlugOrName('raspberrypi4-64'));
  await step('deviceType.getAllSupported', () => m.deviceType.getAllSupported());
  await step('deviceType.getName', () => m.deviceType.getName('raspberrypi4-64'));
  const app = await step('application.create', () =>
    m.application.create({
      name: 'jsfleet',
      deviceType: 'raspberrypi4-64',
      organization: orgs[0].id,
    }),
  );
  await step('application.getAll', () => m.application.getAll());
  await step('application.getAllDirectlyAccessible', () =>
    m.application.getAllDirectlyAccessible(),
  );
  await step('application.getAllByOrganization', () =>
    m.application.getAllByOrganization(orgs[0].handle),
  );
  await step('application.get slug', () => m.application.get(app.slug));
  await step('application.get id', () => m.application.get(app.id));
  await step('application.getDirectlyAccessible', () =>
    m.application.getDirectlyAccessible(app.slug),
  );
  await step('application.getAppByName', () => m.application.getAppByName('jsfleet'));
  await step('application.getWithDeviceServiceDetails', () =>
    m.application.getWithDeviceServiceDetails('admin/existing'),
  );
  await step('application.has', () => m.application.has(app.slug));
  await step('application.hasAny', () => m.application.hasAny());
  await step('application.rename', () => m.application.rename(app.id, 'jsfleet2'));
  await step('application.isTrackingLatestRelease', () =>
    m.application.isTrackingLatestRelease(app.id),
  );
  await step('application.getDashboardUrl', async () => m.application.getDashboardUrl(app.id));
  const pk = await step('application.generateProvisioningKey', () =>
    m.application.generateProvisioningKey({
      slugOrUuidOrId: app.id,
      keyExpiryDate: '2999-01-01T00:00:00.000Z',
    }),
  );
  await step('apiKey.getProvisioningApiKeysByApplication', () =>
    m.apiKey.getProvisioningApiKeysByApplication(app.id),
  );
  await step('application.enableDeviceUrls', () => m.application.enableDeviceUrls(app.id));
  await step('application.disableDeviceUrls', () => m.application.disableDeviceUrls(app.id));
  await step('application.grantSupportAccess', () =>
    m.application.grantSupportAccess(app.id, Date.now() + 3600e3),
  );
  await step('application.revokeSupportAccess', () => m.application.revokeSupportAccess(app.id));
  {
    await step('application.tags.set', () => m.application.tags.set(app.id, 'k', 'v'));
    await step('application.tags.set again', () => m.application.tags.set(app.id, 'k', 'v2'));
    await step('application.tags.getAllByApplication', () =>
      m.application.tags.getAllByApplication(app.id),
    );
    await step('application.tags.remove', () => m.application.tags.remove(app.id, 'k'));
  }
  for (const k of ['configVar', 'envVar', 'buildVar']) {
    const n = k === 'configVar' ? 'BALENA_HOST_X' : 'NAME_' + k;
    await step(`application.${k}.set`, () => m.application[k].set(app.id, n, 'v'));
    await step(`application.${k}.set2`, () => m.application[k].set(app.id, n, 'w'));
    await step(`application.${k}.get`, () => m.application[k].get(app.id, n));
    await step(`application.${k}.getAll`, () => m.application[k].getAllByApplication(app.id));
    await step(`application.${k}.remove`, () => m.application[k].remove(app.id, n));
  }
  const uuid = m.device.generateUniqueKey();
  const reg = await step('device.register', () => m.device.register(app.id, uuid));
  await step('device.get', () => m.device.get(uuid));
  await step('device.get id expand', () =>
    m.device.get(reg.id, {
      $select: ['id', 'device_name', 'overall_status', 'overall_progress', 'is_web_accessible'],
      $expand: {
        belongs_to__application: { $select: ['app_name', 'slug'] },
        is_of__device_type: { $select: 'slug' },
        device_tag: { $select: ['tag_key', 'value'] },
        is_running__release: { $select: ['id', 'commit'] },
        should_be_running__release: { $select: 'commit' },
        should_be_managed_by__release: { $select: 'raw_version' },
      },
    }),
  );
  await step('device.getAll(pine)', () =>
    sdk.pine.get({
      resource: 'device',
      options: {
        $select: ['id', 'uuid'],
        $filter: { belongs_to__application: app.id },
        $orderby: { device_name: 'asc' },
        $top: 5,
        $skip: 0,
      },
    }),
  );
  await step('device.getAllByOrganization', () => m.device.getAllByOrganization(orgs[0].handle));
  await step('application.getAllDevices via expand', () =>
    m.application.get(app.id, {
      $expand: { owns__device: { $select: ['uuid', 'overall_status'], $orderby: { id: 'asc' } } },
    }),
  );
  await step('device.getWithServiceDetails', () => m.device.getWithServiceDetails('d'.repeat(32)));
  await step('device.getByName', async () =>
    m.device.getByName((await m.device.get(uuid)).device_name),
  );
  await step('device.getName', () => m.device.getName(uuid));
  await step('device.rename', () => m.device.rename(uuid, 'js device'));
  await step('device.getApplicationName', () => m.device.getApplicationName(uuid));
  await step('device.has', () => m.device.has(uuid));
  await step('device.isOnline', () => m.device.isOnline(uuid));
  await step(
    'device.getLocalIPAddresses',
    () => m.device.getLocalIPAddresses(uuid),
    /offline|not online|Device/i,
  );
  await step('device.getMACAddresses', () => m.device.getMACAddresses(uuid));
  await step('device.getMetrics', () => m.device.getMetrics(uuid));
  await step('device.getStatus', () => m.device.getStatus(uuid));
  await step('device.getProgress', () => m.device.getProgress(uuid));
  await step('device.setNote', () => m.device.setNote(uuid, 'hello'));
  await step('device.setCustomLocation', () =>
    m.device.setCustomLocation(uuid, { latitude: 1, longitude: 2 }),
  );
  await step('device.unsetCustomLocation', () => m.device.unsetCustomLocation(uuid));
  await step('device.enableDeviceUrl', () => m.device.enableDeviceUrl(uuid));
  await step('device.hasDeviceUrl', () => m.device.hasDeviceUrl(uuid));
  await step('device.getDeviceUrl', () => m.device.getDeviceUrl(uuid));
  await step('device.disableDeviceUrl', () => m.device.disableDeviceUrl(uuid));
  await step('device.enableLocalMode', () => m.device.enableLocalMode(uuid), /./);
  await step('device.isInLocalMode', () => m.device.isInLocalMode(uuid));
  await step('device.enableLockOverride', () => m.device.enableLockOverride(uuid));
  await step('device.hasLockOverride', () => m.device.hasLockOverride(uuid));
  await step('device.disableLockOverride', () => m.device.disableLockOverride(uuid));
  await step('device.getSupervisorState', () => m.device.getSupervisorState(uuid), /No online/);
  await step('device.getSupervisorTargetState', () => m.device.getSupervisorTargetState(uuid));
  await step('device.getSupervisorTargetStateForApp', () =>
    m.device.getSupervisorTargetStateForApp(app.uuid),
  );
  await step('device.ping', () => m.device.ping(uuid), /No online/);
  await step('device.identify', () => m.device.identify(uuid), /No online/);
  await step('device.restartApplication', () => m.device.restartApplication(uuid), /No online/);
  await step('device.restartService', () => m.device.restartService('d'.repeat(32), 1), /./);
  await step('device.reboot', () => m.device.reboot(uuid), /No online/);
  await step('device.shutdown', () => m.device.shutdown(uuid), /No online/);
  await step('device.purge', () => m.device.purge(uuid), /No online/);
  await step('device.update', () => m.device.update(uuid, { force: true }), /No online/);
  await step('device.generateDeviceKey', () => m.device.generateDeviceKey(uuid));
  await step('device.getOsVersion', async () => m.device.getOsVersion(await m.device.get(uuid)));
  await step('device.isTrackingApplicationRelease', () =>
    m.device.isTrackingApplicationRelease(uuid),
  );
  await step('device.getTargetReleaseHash', () => m.device.getTargetReleaseHash('d'.repeat(32)));
  await step('device.grantSupportAccess', () =>
    m.device.grantSupportAccess(uuid, Date.now() + 3600e3),
  );
  await step('device.revokeSupportAccess', () => m.device.revokeSupportAccess(uuid));
  await step('device.tags.set', () => m.device.tags.set(uuid, 'k', 'v'));
  await step('device.tags.set2', () => m.device.tags.set(uuid, 'k', 'v2'));
  await step('device.tags.getAllByDevice', () => m.device.tags.getAllByDevice(uuid));
  await step('device.tags.getAllByApplication', () => m.device.tags.getAllByApplication(app.id));
  await step('device.tags.remove', () => m.device.tags.remove(uuid, 'k'));
  for (const k of ['configVar', 'envVar']) {
    const n = k === 'configVar' ? 'BALENA_SUPERVISOR_POLL_INTERVAL' : 'NAME_' + k;
    await step(`device.${k}.set`, () => m.device[k].set(uuid, n, '900000'));
    await step(`device.${k}.set2`, () => m.device[k].set(uuid, n, '900001'));
    await step(`device.${k}.get`, () => m.device[k].get(uuid, n));
    await step(`device.${k}.getAllByDevice`, () => m.device[k].getAllByDevice(uuid));
    await step(`device.${k}.getAllByApplication`, () => m.device[k].getAllByApplication(app.id));
    await step(`device.${k}.remove`, () => m.device[k].remove(uuid, n));
  }
  const ex = await step('application.get existing', () => m.application.get('admin/existing'));
  await step('service.getAllByApplication', () => m.service.getAllByApplication(ex.id));
  const svc = (await m.service.getAllByApplication(ex.id))[0];
  {
    await step('service.var.set', () => m.service.var.set(svc.id, 'A', '1'));
    await step('service.var.set2', () => m.service.var.set(svc.id, 'A', '2'));
    await step('service.var.set by name', () =>
      m.service.var.set({ application: ex.slug, service_name: 'main' }, 'A', '3'),
    );
    await step('service.var.get', () => m.service.var.get(svc.id, 'A'));
    await step('service.var.getAllByService', () => m.service.var.getAllByService(svc.id));
    await step('service.var.getAllByApplication', () => m.service.var.getAllByApplication(ex.id));
    await step('service.var.remove', () => m.service.var.remove(svc.id, 'A'));
  }
  const D = 'd'.repeat(32);
  await step('device.serviceVar.set', () => m.device.serviceVar.set(D, svc.id, 'B', '1'));
  await step('device.serviceVar.set name', () => m.device.serviceVar.set(D, 'main', 'B', '2'));
  await step('device.serviceVar.get', () => m.device.serviceVar.get(D, svc.id, 'B'));
  await step('device.serviceVar.getAllByDevice', () => m.device.serviceVar.getAllByDevice(D));
  await step('device.serviceVar.getAllByApplication', () =>
    m.device.serviceVar.getAllByApplication(ex.id),
  );
  await step('device.serviceVar.remove', () => m.device.serviceVar.remove(D, svc.id, 'B'));
  await step('release.getAllByApplication', () => m.release.getAllByApplication(ex.id));
  const rel = (await m.release.getAllByApplication(ex.id))[0];
  await step('release.get commit', () => m.release.get(rel.commit));
  await step('release.get raw_version', () =>
    m.release.get({ application: ex.id, rawVersion: rel.raw_version }),
  );
  await step('release.getWithImageDetails', () => m.release.getWithImageDetails(rel.id));
  await step('release.getLatestByApplication', () => m.release.getLatestByApplication(ex.id));
  await step('release.setNote', () => m.release.setNote(rel.id, 'x'));
  await step('release.setKnownIssueList', () => m.release.setKnownIssueList(rel.id, 'x'));
  await step('release.setIsInvalidated', () => m.release.setIsInvalidated(rel.id, false));
  await step('release.tags.set', () => m.release.tags.set(rel.id, 'k', 'v'));
  await step('release.tags.getAllByRelease', () => m.release.tags.getAllByRelease(rel.id));
  await step('release.tags.getAllByApplication', () => m.release.tags.getAllByApplication(ex.id));
  await step('release.tags.remove', () => m.release.tags.remove(rel.id, 'k'));
  await step('image.get', async () =>
    m.image.get((await m.release.getWithImageDetails(rel.id)).images[0].id),
  );
  await step('image.getLogs', async () =>
    m.image.getLogs((await m.release.getWithImageDetails(rel.id)).images[0].id),
  );
  await step('device.pinToRelease', () => m.device.pinToRelease(D, rel.commit));
  await step('device.trackApplicationRelease', () => m.device.trackApplicationRelease(D));
  await step('application.pinToRelease', () => m.application.pinToRelease(ex.id, rel.commit));
  await step('application.willTrackNewReleases', () => m.application.willTrackNewReleases(ex.id));
  await step('application.getTargetReleaseHash', () => m.application.getTargetReleaseHash(ex.id));
  await step('application.trackLatestRelease', () => m.application.trackLatestRelease(ex.id));
  await step('device.setSupervisorRelease', () => m.device.setSupervisorRelease(D, 'v16.0.0'), /./);
  await step('os.getAllOsVersions', () => m.os.getAllOsVersions('raspberrypi4-64'));
  await step('os.getAvailableOsVersions', () => m.os.getAvailableOsVersions('raspberrypi4-64'));
  await step('os.getConfig', () => m.os.getConfig(app.id, { version: '5.0.0' }));
  await step('os.getMaxSatisfyingVersion', () =>
    m.os.getMaxSatisfyingVersion('raspberrypi4-64', 'latest'),
  );
  await step('os.getSupportedOsUpdateVersions', () =>
    m.os.getSupportedOsUpdateVersions('raspberrypi4-64', '2.0.0+rev1'),
  );
  await step('os.isSupportedOsUpdate', () =>
    m.os.isSupportedOsUpdate('raspberrypi4-64', '2.0.0+rev1', '2.12.0+rev1'),
  );
  await step('config.getAll', () => m.config.getAll());
  await step('config.getDeviceOptions', () => m.config.getDeviceOptions('raspberrypi4-64'));
  await step('config.getConfigVarSchema', () => m.config.getConfigVarSchema('raspberrypi4-64'));
  await step('apiKey.create', () =>
    m.apiKey.create({ name: 'jk', description: 'd', expiryDate: null }),
  );
  await step('apiKey.getAll', () => m.apiKey.getAll());
  await step('apiKey.getAllNamedUserApiKeys', () => m.apiKey.getAllNamedUserApiKeys());
  await step('apiKey.getDeviceApiKeysByDevice', () => m.apiKey.getDeviceApiKeysByDevice(uuid));
  await step('apiKey.update', async () => {
    const k = (await m.apiKey.getAllNamedUserApiKeys())[0];
    await m.apiKey.update(k.id, { name: 'jk2' });
  });
  await step('apiKey.revoke', async () => {
    const k = (await m.apiKey.getAllNamedUserApiKeys())[0];
    await m.apiKey.revoke(k.id);
  });
  await step('key.getAll', () => m.key.getAll());
  await step('team.getAllByOrganization', () => m.team.getAllByOrganization(orgs[0].id));
  await step('organization.membership.getAllByOrganization', () =>
    m.organization.membership.getAllByOrganization(orgs[0].id),
  );
  await step('application.membership.getAllByApplication', () =>
    m.application.membership.getAllByApplication(app.id),
  );
  await step('application.invite.getAllByApplication', () =>
    m.application.invite.getAllByApplication(app.id),
  );
  await step('organization.invite.getAll', () => m.organization.invite.getAll());
  await step('creditBundle', () => m.creditBundle.getAllByOrg(orgs[0].id));
  await step('logs.history', () => sdk.logs.history(D));
  await step('settings.get', () => sdk.settings.get('apiUrl'));
  await step('pine.upsert', () =>
    sdk.pine.upsert({
      resource: 'device_tag',
      id: { device: reg.id, tag_key: 'u' },
      body: { value: '1' },
    }),
  );
  await step('pine.upsert again', () =>
    sdk.pine.upsert({
      resource: 'device_tag',
      id: { device: reg.id, tag_key: 'u' },
      body: { value: '2' },
    }),
  );
  await step('pine.get by alt key', () =>
    sdk.pine.get({ resource: 'device_tag', id: { device: reg.id, tag_key: 'u' } }),
  );
  await step('pine count', () =>
    sdk.pine.get({
      resource: 'device',
      options: { $count: { $filter: { belongs_to__application: app.id } } },
    }),
  );
  await step('pine any/all', () =>
    sdk.pine.get({
      resource: 'device',
      options: {
        $select: 'id',
        $filter: {
          device_tag: { $any: { $alias: 't', $expr: { t: { tag_key: 'u', value: '2' } } } },
        },
      },
    }),
  );
  await step('pine not any', () =>
    sdk.pine.get({
      resource: 'device',
      options: {
        $select: 'id',
        $filter: {
          $not: { device_tag: { $any: { $alias: 't', $expr: { t: { tag_key: 'u' } } } } },
        },
      },
    }),
  );
  await step('pine in', () =>
    sdk.pine.get({
      resource: 'device',
      options: { $select: 'id', $filter: { id: { $in: [reg.id, 99] } } },
    }),
  );
  await step('pine contains', () =>
    sdk.pine.get({
      resource: 'device',
      options: {
        $select: 'id',
        $filter: { $contains: [{ $tolower: { $: 'device_name' } }, 'js'] },
      },
    }),
  );
  await step('pine startswith', () =>
    sdk.pine.get({
      resource: 'device',
      options: { $select: 'id', $filter: { uuid: { $startswith: 'dd' } } },
    }),
  );
  await step('pine nested count', () =>
    sdk.pine.get({
      resource: 'application',
      options: {
        $select: 'id',
        $expand: { owns__device: { $count: { $filter: { is_online: false } } } },
      },
    }),
  );
  await step('pine expand top', () =>
    sdk.pine.get({
      resource: 'application',
      options: {
        $select: 'id',
        $expand: {
          owns__release: {
            $select: 'id',
            $top: 1,
            $orderby: [{ created_at: 'desc' }],
            $filter: { status: 'success' },
          },
        },
      },
    }),
  );
  await step('pine dates', () =>
    sdk.pine.get({
      resource: 'device',
      options: { $select: 'id', $filter: { created_at: { $gt: '2020-01-01T00:00:00Z' } } },
    }),
  );
  await step('pine null', () =>
    sdk.pine.get({
      resource: 'device',
      options: { $select: 'id', $filter: { is_pinned_on__release: null, note: { $ne: null } } },
    }),
  );
  await step('device.move', async () => {
    const a = await m.application.create({
      name: 'jsother',
      deviceType: 'raspberrypi4-64',
      organization: orgs[0].id,
    });
    await m.device.move(uuid, a.slug);
  });
  await step('device.deactivate', () => m.device.deactivate(uuid));
  await step('device.remove', () => m.device.remove(uuid));
  await step('device.get removed', () => m.device.get(uuid), /not found/i);
  await step('application.remove', () => m.application.remove(app.id));
  await step('auth.logout', () => sdk.auth.logout());
  await step('auth.login wrong', () => sdk.auth.login({ email, password: 'nonsense1' }), /./);
  report();
})();
