import { createPrivateKey } from 'node:crypto'
import { dirname, join } from 'node:path'
import type { Command } from 'commander'
import { readPinsFile } from '../formats/pins-file.js'
import type { PinsFile } from '../formats/pins-file.js'
import { readFileBytes } from '../formats/text-file.js'
import { keyPinOf } from '../pin/spki.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { CommandError, exitCode } from './exit.js'
import { showDay, showText } from './format.js'
import { maxInputBytes } from './input.js'
import type { Output } from './output.js'
import { coverageOf, entriesFor, entriesOf, findEntry, safeAt } from './renewal/coverage.js'
import type { PinsEntry } from './renewal/coverage.js'
import { deploy, rollBack } from './renewal/deployment.js'
import { covers, findLive, isCertbotLive, namesOf, readChain } from './renewal/lineage.js'
import type { LiveCertificate } from './renewal/lineage.js'
import { nextKey } from './renewal/next-key.js'
import { announce, changePins, dropRetired, graceOf, putInUse, sameEntry, spreadOf } from './renewal/rotation.js'
import { parseTarget, showTarget } from './target.js'
import { caHelp } from './trust.js'

/** `renewal plan` and `renewal hook`: carries pins through the renewal of certificates. */
export function renewalCommand(run: Run): Command {
  return createCommand('renewal', 'Carry pins through certificate renewals: announce the next key, let its pin spread, renew, drop the old pin.').addCommand(planCommand(run)).addCommand(hookCommand(run))
}

interface PlanOptions {
  host: string
  live: string
  nextKey?: string
  csr?: string
  requireSafe?: boolean
  ca?: string
}

function planCommand(run: Run): Command {
  return createCommand('plan', 'Make (or find) the next private key of a host, add its pin to the pins file as a backup, and say when renewing with that key is safe.')
    .argument('<pins file>', 'JSON with comments, or YAML; changed in place, its comments kept')
    .requiredOption('--host <host>', 'the pinned host')
    .requiredOption('--live <dir>', "where the ACME client keeps its certificate: certbot's live, lego's certificates, ~/.acme.sh, Caddy's storage")
    .option('--next-key <file>', 'the next private key (default: next-privkey.pem beside the certificate)')
    .option('--csr <file>', 'its certificate request (default: next-csr.pem beside the key)')
    .option('--require-safe', 'exit code 1 until renewing with the next key is safe')
    .option('--ca <file>', caHelp)
    .action(action(run, (output, path: string, options: PlanOptions) => fileErrors(plan(output, path, options))))
}

async function plan(output: Output, path: string, options: PlanOptions): Promise<0 | 1> {
  const now = new Date()
  const target = parseTarget(options.host)
  const file = readPinsFile(path)
  const entry = demandEntry(file, target, path)
  const live = findLive(options.live, target.host)
  const [leaf] = live.chain as [LiveCertificate['chain'][number]]
  const keyFile = options.nextKey ?? join(live.folder, 'next-privkey.pem')
  const csrFile = options.csr ?? join(dirname(keyFile), 'next-csr.pem')
  const next = await nextKey(leaf, target.host, keyFile, csrFile)
  const inUse = keyPinOf(leaf)

  const dropped = await dropAllRetired(path, now)
  const { rotation, spreadMs, covered } = await changePins(path, (current) => {
    const own = sameEntry(current, entry) ?? entry
    const covered = isPublished(current, own, live, readCa(options.ca), now)
    const edits = [...(covered ? putInUse(own, inUse, now) : []), ...(own.policy.pins.has(next.pin) ? [] : announce(own, next.pin, now))]
    return { edits, result: { rotation: own.policy.pins.has(next.pin) ? own.rotation : { announced: { [next.pin]: now.toISOString() } }, spreadMs: spreadOf(current.refresh), covered } }
  })
  const at = safeAt(rotation, next.pin, spreadMs)
  const safe = at.getTime() <= now.getTime()
  const ends = new Date(leaf.validTo)
  const warnings = [
    ...(covered ? [] : [`the certificate in use (${inUse}) is not covered by pins that every client knows`]),
    ...(!safe && ends <= at ? [`the certificate in use ends ${showDay(ends)}, before the pin has spread; renew with the same key meanwhile`] : []),
    ...(file.refresh.spreadMs === undefined ? ['the pins file does not say refresh.spreadMs; a day is assumed'] : [])
  ]
  const result = { host: showTarget(target), pattern: entry.name, inUse, next: next.pin, keyFile, csrFile, made: next.made, safe, ...(at.getTime() > 0 && { safeAt: at.toISOString() }), expires: ends.toISOString(), dropped, warnings }
  output.result(result, () =>
    [
      `in use   ${inUse}  until ${showDay(ends)}`,
      `next     ${next.pin}  ${showText(keyFile)}${next.made ? ' (made now)' : ''}`,
      `request  ${showText(csrFile)}`,
      safe ? 'Renewing with the next key is safe.' : `Renewing with the next key is safe from ${at.toISOString()}; publish ${showText(path)} now.`,
      ...dropped.map((pin) => `dropped  ${pin}`)
    ].join('\n')
  )
  if (!output.json) for (const warning of warnings) output.note(`warning: ${warning}`)
  return options.requireSafe === true && !safe ? exitCode.refused : exitCode.ok
}

interface HookOptions {
  host?: string
  live?: string
  cert?: string
  key?: string
  deployTo?: string
  rollBack?: boolean
  ca?: string
}

function hookCommand(run: Run): Command {
  return createCommand('hook', 'Before a new certificate is deployed: check that pins which every client knows cover it. For the deploy hooks of certbot, lego, acme.sh and Caddy.')
    .argument('<pins file>', 'JSON with comments, or YAML; changed in place, its comments kept')
    .option('--host <host>', 'a host that the certificate must be for (default: every pinned host that it is for)')
    .option('--live <dir>', 'where the ACME client keeps its certificate (default: as the client says in the environment)')
    .option('--cert <file>', 'the new certificate with its chain, in place of --live')
    .option('--key <file>', 'its private key')
    .option('--deploy-to <dir>', "once it is covered, write fullchain.pem and privkey.pem there; in one of certbot's live folders, as its next version")
    .option('--roll-back', "where it is not covered, point certbot's live folder back to the last certificate that is")
    .option('--ca <file>', caHelp)
    .action(action(run, (output, path: string, options: HookOptions) => fileErrors(hook(output, path, options, run.terminal.env))))
}

async function hook(output: Output, path: string, options: HookOptions, env: NodeJS.ProcessEnv): Promise<0> {
  const now = new Date()
  const target = options.host === undefined ? undefined : parseTarget(options.host)
  const live = findNew(options, target?.host, env)
  const [leaf] = live.chain as [LiveCertificate['chain'][number]]
  const file = readPinsFile(path)
  const ca = readCa(options.ca)
  const hosts = namesOf(leaf).join(', ')
  const entries = entriesFor(file, leaf)
  if (target) {
    const own = demandEntry(file, target, path)
    if (!covers(leaf, target.host)) throw refusal(`the certificate is for ${hosts}, not for ${target.host}`)
    if (!entries.some(({ name }) => name === own.name)) entries.push(own)
  }
  if (entries.length === 0) throw refusal(`no host of the certificate (${hosts}) is pinned in ${showText(path)}`)
  checkUsable(live, now)

  const problems = entries.map((entry) => problemOf(file, entry, live, ca, now)).filter((problem) => problem !== undefined)
  if (problems.length > 0) {
    const restored = options.rollBack === true && isCertbotLive(live.folder) ? await rollBack(live.folder, (chainFile) => entries.every((entry) => isPublished(file, entry, { ...live, chain: readChain(chainFile) }, ca, now))) : undefined
    throw refusal(`${problems.join('; ')}${restored === undefined ? '' : `; ${showText(live.folder)} holds the certificate of version ${restored} again`}`)
  }
  if (options.deployTo !== undefined) await deploy(live, options.deployTo)
  const pin = keyPinOf(leaf)
  await changePins(path, (current) => ({ edits: entries.flatMap((entry) => putInUse(sameEntry(current, entry) ?? entry, pin, now)), result: undefined }))
  const dropped = await dropAllRetired(path, now)
  const result = { covered: true, pin, fingerprint: leaf.fingerprint256, certificateFile: live.certificateFile, patterns: entries.map(({ name }) => name), deployedTo: options.deployTo, dropped }
  output.result(result, () => [`covered  ${pin}  ${entries.map(({ name }) => showText(name)).join(', ')}`, ...(options.deployTo === undefined ? [] : [`deployed to ${showText(options.deployTo)}`]), ...dropped.map((each) => `dropped  ${each}`)].join('\n'))
  return exitCode.ok
}

/** The certificate that the hook is called for: named by options, else as certbot, lego and acme.sh say it. */
function findNew({ live, cert, key }: HookOptions, host: string | undefined, env: NodeJS.ProcessEnv): LiveCertificate {
  if (cert !== undefined && live !== undefined) throw new CommandError('--cert and --live exclude each other', exitCode.usage)
  const certificateFile = cert ?? (live === undefined ? (env['LEGO_CERT_PATH'] ?? env['CERT_FULLCHAIN_PATH']) : undefined)
  if (certificateFile !== undefined) return { folder: dirname(certificateFile), certificateFile, keyFile: key ?? (cert === undefined ? (env['LEGO_CERT_KEY_PATH'] ?? env['CERT_KEY_PATH']) : undefined), chain: readChain(certificateFile) }
  const folder = live ?? env['RENEWED_LINEAGE']
  if (folder === undefined) throw new CommandError('the new certificate is not known; right would be --live or --cert, or a call by certbot, lego or acme.sh', exitCode.usage)
  const found = findLive(folder, host)
  return key === undefined ? found : { ...found, keyFile: key }
}

function demandEntry(file: PinsFile, target: { host: string; port: number }, path: string): PinsEntry {
  const entry = findEntry(file, target.host, target.port)
  if (entry === undefined) throw new CommandError(`${showText(path)} has no pins for ${showTarget(target)}`, exitCode.usage, 'ERR_PIN_HOST_UNPINNED')
  return entry
}

function checkUsable({ chain, keyFile }: LiveCertificate, now: Date): void {
  const [leaf] = chain as [LiveCertificate['chain'][number]]
  if (Date.parse(leaf.validTo) <= now.getTime()) throw refusal(`the certificate has expired (${showDay(new Date(leaf.validTo))})`)
  if (keyFile === undefined) return
  let fits: boolean
  try {
    fits = leaf.checkPrivateKey(createPrivateKey(readFileBytes(keyFile, maxInputBytes, 'key')))
  } catch (cause) {
    throw new CommandError(`${showText(keyFile)} holds no private key that can be used`, exitCode.usage, 'ERR_INPUT', { cause })
  }
  if (!fits) throw refusal(`${showText(keyFile)} is not the key of the certificate`)
}

/** Why clients would refuse the certificate; `undefined` when they all accept it. */
function problemOf(file: PinsFile, entry: PinsEntry, { chain }: LiveCertificate, ca: string | undefined, now: Date): string | undefined {
  const { published, spreading, rejected } = coverageOf(entry, chain, ca, spreadOf(file.refresh), now.getTime())
  const name = showText(entry.name)
  const pin = keyPinOf(chain[0] as LiveCertificate['chain'][number])
  if (rejected !== undefined) return `${name} rejects ${rejected}, which occurs in the new certificate's chain`
  if (published.length > 0) return undefined
  const [soonest] = [...spreading].sort((a, b) => a.safeAt.getTime() - b.safeAt.getTime())
  if (soonest) return `the pin of the new certificate, ${soonest.pin}, has not reached every client of ${name} yet: deploy from ${soonest.safeAt.toISOString()}`
  return `no pin of ${name} covers the new certificate (its key is ${pin}): it was never announced, and every client would refuse it; renew with the same key, or with the one that "renewal plan" has announced`
}

function isPublished(file: PinsFile, entry: PinsEntry, { chain }: Pick<LiveCertificate, 'chain'>, ca: string | undefined, now: Date): boolean {
  const { published, rejected } = coverageOf(entry, chain, ca, spreadOf(file.refresh), now.getTime())
  return published.length > 0 && rejected === undefined
}

async function dropAllRetired(path: string, now: Date): Promise<string[]> {
  return await changePins(path, (file) => {
    const done = entriesOf(file).map((entry) => dropRetired(entry, graceOf(file.refresh), now))
    return { edits: done.flatMap(({ edits }) => edits), result: [...new Set(done.flatMap(({ dropped }) => dropped))] }
  })
}

/** What the system says of a file (no permission, no space, no such folder) is the user's to solve. */
async function fileErrors<T>(done: Promise<T>): Promise<T> {
  try {
    return await done
  } catch (error) {
    const { syscall, code, path, message } = error as NodeJS.ErrnoException
    if (syscall === undefined || code === undefined) throw error
    throw new CommandError(`${path === undefined ? '' : `${showText(path)}: `}${message.replace(/, .*$/, '')}`, exitCode.usage, code, { cause: error })
  }
}

function readCa(file: string | undefined): string | undefined {
  return file === undefined ? undefined : readChain(file).map(String).join('\n')
}

function refusal(message: string): CommandError {
  return new CommandError(message, exitCode.refused, 'ERR_PIN_MISMATCH')
}
