import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import axios from 'axios'
import { loadPins, pinAxios, pinOf } from '../../lib/index.js'
import { hasLego, missingAcme, startAcme } from '../support/acme.js'
import type { Acme } from '../support/acme.js'
import { createAuthority } from '../support/pki.js'

// A real ACME server, a real ACME client, a server that serves certbot's live files, and a pinned client that calls it all
// the time, each time over a new connection.
const main = join(__dirname, '../../dist/cjs/cli/main.js')
const spreadMs = 3_000
const folder = mkdtempSync(join(tmpdir(), 'renewal-'))
const pinsFile = join(folder, 'pins.yaml')
const reload = join(folder, 'reload')
const backup = createAuthority().pin
const hook = `${process.execPath} ${main} renewal hook ${pinsFile}`

let acme: Acme
let live: string
let server: ReturnType<typeof createServer>
let traffic: Traffic

afterAll(async () => {
  await traffic?.stop()
  server?.close()
  await acme?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const title = missingAcme.length > 0 ? missingAcme.join(', ') : 'renewals with certbot against pebble'
;(missingAcme.length > 0 ? describe.skip : describe)(title, () => {
  test('the first certificate is issued, served and pinned', async () => {
    acme = await startAcme(join(folder, 'acme'))
    live = join(acme.live, 'localhost')
    expect(await acme.certbot('certonly', '-d', 'localhost', '--key-type', 'ecdsa', '--reuse-key')).toMatchObject({ code: 0 })
    writeFileSync(pinsFile, `# The pins of the shop.\npins:\n  localhost:\n    publicKeys:\n      - ${pinOf(readFileSync(join(live, 'privkey.pem')))} # in use since the beginning\n      - ${backup} # in the safe\nrefresh:\n  spreadMs: ${spreadMs}\n  graceMs: 1000\n`)
    server = createServer(credentials(), (_req, res) => res.end('ok')).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    traffic = startTraffic((server.address() as AddressInfo).port, acme.root)
    await traffic.calls(10)
    expect(cli('plan', pinsFile, '--host', 'localhost', '--live', acme.live, '--next-key', join(folder, 'unused.pem')).status).toBe(0)
  })

  test('renewed with the same key: the hook lets it through', async () => {
    const before = served()
    const { code, output } = await acme.certbot('renew', '--force-renewal', '--reuse-key', '--deploy-hook', `${hook} && touch ${reload}`)
    expect([code, output]).toEqual([0, expect.stringContaining('succeeded')])
    await reloaded()
    expect(served().publicKey.equals(before.publicKey)).toBe(true)
    expect(served().fingerprint256).not.toBe(before.fingerprint256)
    await traffic.calls(20)
    expect(traffic.failures).toEqual([])
  })

  test('renewed with the next key: announced, spread, issued for its request, checked, deployed; the old pin goes', async () => {
    const former = pinOf(served())
    const planned = cli('plan', pinsFile, '--host', 'localhost', '--live', acme.live, '--json', '--require-safe')
    expect(planned.status).toBe(1)
    const { next, csrFile, keyFile, safe } = JSON.parse(planned.stdout) as { next: string; csrFile: string; keyFile: string; safe: boolean }
    expect(safe).toBe(false)
    expect(loadPins(pinsFile).pins?.['localhost']).toMatchObject({ publicKeys: expect.arrayContaining([former, backup, next]) })

    const fresh = (name: string): string => join(folder, name)
    const issue = (): Promise<{ code: number | null }> => acme.certbot('certonly', '--csr', csrFile, '--cert-path', fresh('cert.pem'), '--chain-path', fresh('chain.pem'), '--fullchain-path', fresh('fullchain.pem'))
    const deploy = (): ReturnType<typeof cli> => cli('hook', pinsFile, '--host', 'localhost', '--cert', fresh('fullchain.pem'), '--key', keyFile, '--deploy-to', live)
    expect(await issue()).toMatchObject({ code: 0 })
    // Whether issuing was quicker than spreading depends on the machine; a longer spread makes sure of it.
    const text = readFileSync(pinsFile, 'utf8')
    writeFileSync(pinsFile, text.replace(`spreadMs: ${spreadMs}`, 'spreadMs: 600000'))
    expect(deploy()).toMatchObject({ status: 1, stderr: expect.stringContaining(`the pin of the new certificate, ${next}, has not reached every client of localhost yet: deploy from `) })
    expect(pinOf(served())).toBe(former)
    writeFileSync(pinsFile, text)

    while (cli('plan', pinsFile, '--host', 'localhost', '--live', acme.live, '--require-safe').status !== 0) await sleep(200)
    expect(deploy()).toMatchObject({ status: 0 })
    writeFileSync(reload, '')
    await reloaded()
    expect(pinOf(served())).toBe(next)
    await traffic.calls(20)
    await sleep(1_200)
    expect(cli('plan', pinsFile, '--host', 'localhost', '--live', acme.live).stdout).toContain(`dropped  ${former}`)
    expect(loadPins(pinsFile).pins?.['localhost']).toMatchObject({ publicKeys: expect.not.arrayContaining([former]) })
    expect(readFileSync(pinsFile, 'utf8')).toMatch(/^# The pins of the shop\.\n[^]*# in the safe/)
    await traffic.calls(20)
    expect(traffic.failures).toEqual([])

    // certbot goes on with that key.
    expect(await acme.certbot('renew', '--force-renewal', '--reuse-key', '--deploy-hook', `${hook} && touch ${reload}`)).toMatchObject({ code: 0 })
    await reloaded()
    expect(pinOf(served())).toBe(next)
    await traffic.calls(20)
    expect(traffic.failures).toEqual([])
  })

  test('renewed with a key that was never announced: the hook stops it, and certbot is back at the last good one', async () => {
    const before = served()
    const { output } = await acme.certbot('renew', '--force-renewal', '--new-key', '--deploy-hook', `${hook} --roll-back && touch ${reload}`)
    expect(output).toMatch(/reported error code 1/)
    expect(output).toMatch(/no pin of localhost covers the new certificate \(its key is sha256\/[^)]+\): it was never announced/)
    await sleep(500)
    expect(existsSync(reload)).toBe(false)
    // Neither a server that goes on nor one that is started anew serves it.
    server.setSecureContext(credentials())
    expect(served().fingerprint256).toBe(before.fingerprint256)
    await traffic.calls(20)
    expect(traffic.failures).toEqual([])
    const again = await acme.certbot('renew', '--force-renewal', '--reuse-key', '--deploy-hook', `${hook} && touch ${reload}`)
    expect(again).toMatchObject({ code: 0, output: expect.not.stringContaining('reported error') })
    await reloaded()
    expect(served().publicKey.equals(before.publicKey)).toBe(true)
    await traffic.calls(20)
  })

  const withLego = hasLego ? test : test.skip
  withLego(hasLego ? 'lego: its renewals go through the same hook, with what it says in the environment' : 'lego is not installed: apt-get install lego', async () => {
    expect(await acme.lego('run')).toMatchObject({ code: 0 })
    const certificates = join(folder, 'acme/lego/certificates')
    const pins = join(folder, 'lego.json')
    const key = pinOf(readFileSync(join(certificates, 'localhost.key')))
    const deployed = join(folder, 'deployed')
    const lego = (...args: string[]): Promise<{ code: number | null; output: string }> => acme.lego('renew', '--days', '100000', '--no-random-sleep', ...args, '--renew-hook', `${process.execPath} ${main} renewal hook ${pins} --deploy-to ${deployed}`)
    writeFileSync(pins, JSON.stringify({ pins: { localhost: [key, backup] } }))
    expect(await lego('--reuse-key')).toMatchObject({ code: 0, output: expect.stringContaining(`covered  ${key}  localhost`) })
    expect([readFileSync(join(deployed, 'fullchain.pem'), 'utf8'), pinOf(readFileSync(join(deployed, 'privkey.pem')))]).toEqual([readFileSync(join(certificates, 'localhost.crt'), 'utf8'), key])
    // A new key, which nobody has announced.
    const stopped = await lego()
    expect(stopped.output).toContain('no pin of localhost covers the new certificate')
    expect(pinOf(readFileSync(join(certificates, 'localhost.key')))).not.toBe(key)
    expect(pinOf(readFileSync(join(deployed, 'fullchain.pem')))).toBe(key)
  })

  test('all the while: not one call refused, and not one unpinned', async () => {
    await traffic.stop()
    console.log(`${traffic.count} calls over new connections, ${traffic.failures.length} refused, ${traffic.unpinned} unpinned, ${traffic.keys.size} keys, ${traffic.certificates.size} certificates`)
    expect(traffic).toMatchObject({ failures: [], unpinned: 0 })
    expect(traffic.keys.size).toBe(2)
    expect(traffic.certificates.size).toBe(5)
  })
})

function credentials(): { cert: Buffer; key: Buffer } {
  return { cert: readFileSync(join(live, 'fullchain.pem')), key: readFileSync(join(live, 'privkey.pem')) }
}

function served(): X509Certificate {
  return new X509Certificate(credentials().cert)
}

/** As a web server does on SIGHUP. */
async function reloaded(): Promise<void> {
  expect(existsSync(reload)).toBe(true)
  rmSync(reload)
  server.setSecureContext(credentials())
}

function cli(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [main, 'renewal', ...args], { encoding: 'utf8' })
}

interface Traffic {
  count: number
  unpinned: number
  readonly failures: string[]
  readonly keys: Set<string>
  readonly certificates: Set<string>
  /** Waits until as many more calls have been made. */
  calls(count: number): Promise<void>
  stop(): Promise<void>
}

/** Calls all the time, and reads the published pins twice a second, as clients of a file or a signed set do. */
function startTraffic(port: number, ca: string): Traffic {
  const api = axios.create({ baseURL: `https://localhost:${port}`, proxy: false })
  const seen: Traffic = {
    count: 0, unpinned: 0, failures: [], keys: new Set(), certificates: new Set(),
    calls: async (more) => {
      const until = seen.count + more
      while (seen.count < until && seen.failures.length === 0) await sleep(20)
    },
    stop: async () => {
      running = false
      await done
      await pinning.close()
    }
  }
  const pinning = pinAxios(api, {
    pinsFile, tls: { ca }, agent: { keepAlive: false, maxCachedSessions: 0 },
    onValidCertificate: ({ result, leaf }) => {
      if (result !== 'pinned') seen.unpinned++
      seen.keys.add(leaf?.pin ?? '')
      seen.certificates.add(leaf?.fingerprint ?? '')
    }
  })
  let running = true
  const done = (async () => {
    for (let last = Date.now(); running; await sleep(10)) {
      if (Date.now() - last > 500) {
        last = Date.now()
        pinning.update(loadPins(pinsFile).pins ?? {})
      }
      await api.get('/').then(() => seen.count++, (error: Error) => seen.failures.push(error.message))
    }
  })()
  return seen
}
