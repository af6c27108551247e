import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { PolicyInvalidError } from '../../errors.js'
import { PolicySet } from '../../policy/policy-set.js'
import { StrictJsonError, parseStrictJson } from '../../update/json.js'
import { addSignatures, defaultRefreshMs, readUnverifiedManifest, signManifest, verifyManifest, verifyStoredManifest } from '../../update/manifest.js'
import type { PinSetPayload } from '../../update/manifest.js'
import { SigningTrust } from '../../update/trust.js'
import { action, createCommand } from '../command.js'
import type { Run } from '../command.js'
import { CommandError, exitCode, worst } from '../exit.js'
import { showText } from '../format.js'
import { readInput } from '../input.js'
import type { Output } from '../output.js'
import { passphraseHelp } from '../passphrase.js'
import { explainWriteFailure } from '../write-failure.js'
import { collect, parseWhole } from './arguments.js'
import { clientPolicies, warningsOf } from './client.js'
import { checkLive, countLive, wildcardsOf } from './live.js'
import type { LiveFinding } from './live.js'
import { readSigned, whyOf } from './signed.js'
import { keyHelp, readPublicJwk, readSigningKeys, readTrust } from './signing-key.js'
import type { PrivateSigningKey } from './signing-key.js'
import { describeSet } from './summary.js'

interface SignOptions {
  key: string[]
  passphraseFrom?: string
  out?: string
  previous?: string
  trust: string[]
  days?: number
  audience?: string
  nextKey: string[]
  add?: boolean
  checkLive?: boolean
  liveHost: string[]
  allowDrop: string[]
  allowUnreachable?: boolean
  ca?: string
}

/** `manifest sign <file> --key …`: signs a set of pins, or adds a signature. */
export function signCommand(run: Run): Command {
  return createCommand('sign', 'Sign pins for publication. The version is one more than that of the set before, and the date of issue now.')
    .argument('<file>', 'the pins: JSON, as schemas/pin-set.schema.json says; version, issued, expires and audience may be left out. With --add the signed set. - for standard input')
    .requiredOption('--key <source>', keyHelp, collect)
    .option('--passphrase-from <source>', `of the keys; ${passphraseHelp}`)
    .option('--out <file>', 'where the signed set is written, all or nothing (default: standard output; with --add the file itself)')
    .option('--previous <file>', 'the set before (default: what is there under --out); its signature is verified')
    .option('--trust <file>', 'a public key that the set before was signed with, if not with --key; can be given again', collect, [])
    .option('--days <number>', 'expire after so many days (default: what the file says)', parseWhole)
    .option('--audience <name>', 'the clients that it is for (default: what the file, or else the set before, says)')
    .option('--next-key <file>', 'a public key that clients trust as well from now on; can be given again', collect, [])
    .option('--add', 'add a signature to a signed set, whose content stays as it is')
    .option('--check-live', 'connect to every pinned host first, and refuse to sign when a client with these pins would be refused, or a host is dropped that still serves its pinned key')
    .option('--live-host <host>', 'with --check-live: a host[:port] that only a wildcard pattern covers; can be given again', collect, [])
    .option('--allow-drop <host>', 'with --check-live: drop this host[:port] all the same; can be given again', collect, [])
    .option('--allow-unreachable', 'with --check-live: hosts that cannot be reached do not matter')
    .option('--ca <file>', 'with --check-live: trust anchors, PEM, in place of those of Node')
    .action(
      action(run, async (output, file: string, options: SignOptions) => {
        const keys = await readSigningKeys(options.key, options.passphraseFrom, output)
        if (file === '-' && (options.key.includes('-') || options.passphraseFrom === 'stdin')) throw new CommandError('standard input cannot be both the pins and a key or passphrase', exitCode.usage)
        const out = options.out ?? (options.add && file !== '-' ? file : undefined)
        const previous = await readPrevious(options, keys, output)
        const input = (await readInput(file, run.terminal)).toString()
        const payload = options.add ? (await readSigned(input, file)).payload : await composePayload(input, previous, options, output)
        const text = options.add ? await addSignatures(input, keys.map(({ privateKey }) => privateKey)) : await sign(payload, keys)
        warnOf(warningsOf(await demandUsable(text, payload, keys)), payload, previous, output)
        if (options.checkLive) {
          const code = await demandLive(payload, previous, options, output)
          if (code !== exitCode.ok) return code
        }
        if (out === undefined) run.terminal.stdout.write(`${text}\n`)
        else await write(out, text)
        const { signatures } = await readUnverifiedManifest(text)
        if (out !== undefined) output.result({ out, version: payload.version, audience: payload.audience, expires: payload.expires, hosts: Object.keys(payload.pins).length, signatures: signatures.map(({ alg, kid }) => ({ alg, kid })) }, () => `${describeSet(payload, signatures, output.colors, Date.now())}\n\nwritten to ${showText(out)}`)
        return exitCode.ok
      })
    )
}

/** Verified, since a forged version would be the end of all later ones. */
async function readPrevious({ previous, out, add, trust }: SignOptions, keys: readonly PrivateSigningKey[], { terminal }: Output): Promise<PinSetPayload | undefined> {
  const path = previous ?? (add ? undefined : out)
  if (path === undefined) return undefined
  if (previous === undefined && !existsSync(path)) return undefined
  const text = (await readInput(path, terminal)).toString()
  const trusted = trust.length > 0 ? await readTrust(trust, 1, terminal) : SigningTrust.of(keys.map(({ key }) => key))
  let payload: PinSetPayload
  try {
    payload = (await readUnverifiedManifest(text)).payload
    await verifyStoredManifest(text, { trust: trusted, audience: payload.audience })
  } catch (cause) {
    throw new CommandError(`the set before (${showText(path)}) cannot be built on: ${whyOf(cause as Error)}. If it was signed with another key, name its public key: --trust FILE`, exitCode.refused, 'ERR_PIN_UPDATE_REJECTED', { cause })
  }
  return payload
}

async function composePayload(input: string, previous: PinSetPayload | undefined, options: SignOptions, { terminal }: Output): Promise<PinSetPayload> {
  const given = await parsePayload(input)
  const now = new Date()
  const version = given.version ?? (previous?.version ?? 0) + 1
  if (previous && !(version > previous.version)) throw new CommandError(`version ${String(version)} is not higher than ${previous.version}, that of the set before; right would be ${previous.version + 1}, or none, which means the same`, exitCode.refused, 'ERR_PIN_UPDATE_REJECTED')
  const expires = options.days === undefined ? given.expires : daysAfter(now, options.days)
  if (expires === undefined) throw new CommandError('when does it expire? Right would be --days 14, or "expires" in the file', exitCode.usage)
  const audience = options.audience ?? given.audience ?? previous?.audience
  if (audience === undefined) throw new CommandError('which clients is it for? Right would be --audience NAME, or "audience" in the file', exitCode.usage)
  if (previous && previous.audience !== audience) throw new CommandError(`it is for ${JSON.stringify(audience)}, and the set before is for ${JSON.stringify(previous.audience)}; the sets of each audience have versions of their own`, exitCode.refused, 'ERR_PIN_UPDATE_REJECTED')
  const nextKeys: Array<NonNullable<PinSetPayload['keys']>[number]> = []
  for (const file of options.nextKey) nextKeys.push(await readPublicJwk(file, terminal))
  const { pins = {}, keys: named = [], ...rest } = given
  if (!Array.isArray(named)) throw unreadable('"keys" must be an array of public keys (JWK)')
  const keys = [...(named as NonNullable<PinSetPayload['keys']>), ...nextKeys]
  if (typeof pins === 'object' && pins !== null && Object.keys(pins).length === 0) throw unreadable('there are no pins in it; right would be "pins": { "api.example.com": ["sha256/…", "sha256/…"] }')
  return { ...rest, version, issued: given.issued ?? now.toISOString(), expires, audience, ...(keys.length > 0 && { keys }), pins }
}

async function parsePayload(input: string): Promise<Partial<PinSetPayload>> {
  if (/^\s*\{\s*"payload"\s*:|^[\w-]+\.[\w-]+\.[\w-]+\s*$/.test(input)) throw new CommandError('this is a signed set; right would be --add, to add a signature, or the pins themselves', exitCode.usage)
  try {
    const value = await parseStrictJson(input, 6, () => Promise.resolve())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  } catch (error) {
    if (error instanceof StrictJsonError) throw unreadable(error.message, error)
    throw error
  }
  throw unreadable('right would be a JSON object with "pins"')
}

function unreadable(reason: string, cause?: unknown): CommandError {
  return new CommandError(`the pins cannot be read: ${reason}`, exitCode.usage, 'ERR_INPUT', { cause })
}

/** As the schema wants it, which has room for four digits of a year. */
function daysAfter(now: Date, days: number): string {
  const ends = new Date(now.getTime() + days * 86_400_000)
  if (!(ends.getTime() < Date.parse('+010000-01-01'))) throw new CommandError(`--days ${days}: it would expire after the year 9999; right would be --days 14`, exitCode.usage)
  return ends.toISOString()
}

function warnOf(ofPins: readonly string[], payload: PinSetPayload, previous: PinSetPayload | undefined, output: Output): void {
  const warnings = [...ofPins]
  const ends = new Date(payload.expires).getTime()
  if (ends - Date.now() < 2 * (payload.refreshMs ?? defaultRefreshMs)) warnings.push('it expires before every client has asked twice')
  const named = new Set((payload.keys ?? []).map(({ x, pub }) => String(x ?? pub)))
  const forgotten = (previous?.keys ?? []).filter(({ x, pub }) => !named.has(String(x ?? pub)))
  if (forgotten.length > 0) warnings.push(`${forgotten.length} of the signing keys that version ${String(previous?.version)} names are not named any more; a client that has missed it does not know them`)
  for (const warning of warnings) output.note(`Warning: ${warning}`)
}

async function sign(payload: PinSetPayload, keys: readonly PrivateSigningKey[]): Promise<string> {
  try {
    const text = await signManifest(payload, keys.map(({ privateKey }) => privateKey))
    // What is wrong with them is wrong in the user's own file.
    new PolicySet({ pins: payload.pins }, 0)
    return text
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw new CommandError(`${error.option}: ${error.reason}`, exitCode.usage, error.code, { cause: error })
    throw error
  }
}

/** Nothing is published that a client would not take. */
async function demandUsable(text: string, { audience }: PinSetPayload, keys: readonly PrivateSigningKey[]): Promise<PolicySet> {
  return clientPolicies(await verifyManifest(text, { trust: SigningTrust.of(keys.map(({ key }) => key), keys.length), audience, now: Date.now() }))
}

async function demandLive(payload: PinSetPayload, previous: PinSetPayload | undefined, options: SignOptions, output: Output): Promise<(typeof exitCode)[keyof typeof exitCode]> {
  const sets = previous ? [payload, previous] : [payload]
  const progress = await output.progress('connecting', countLive(sets, options.liveHost))
  const ca = options.ca === undefined ? undefined : (await readInput(options.ca, output.terminal)).toString()
  const findings = await checkLive(payload, previous, { ca, hosts: options.liveHost, timeoutMs: 10_000 }, () => progress.tick()).finally(() => progress.stop())
  const mayDrop = new Set(options.allowDrop)
  const untrusted = findings.filter(({ outcome }) => outcome === 'untrusted')
  const wrong = findings.filter(({ host, port, outcome }) => outcome === 'refused' || (outcome === 'dropped' && !mayDrop.has(host) && !mayDrop.has(`${host}:${port}`)))
  const unreachable = options.allowUnreachable ? [] : findings.filter(({ outcome }) => outcome === 'unreachable')
  for (const finding of findings) if (finding.outcome !== 'accepted' && finding.outcome !== 'gone') output.note(showFinding(finding))
  const wildcards = wildcardsOf(payload)
  if (wildcards.length > 0 && options.liveHost.length === 0) output.note(`Not checked: ${wildcards.slice(0, 5).map(showText).join(', ')}${wildcards.length > 5 ? ', …' : ''}; name their hosts with --live-host`)
  const code = worst([wrong.length + untrusted.length > 0 ? exitCode.refused : exitCode.ok, unreachable.length > 0 ? exitCode.unreachable : exitCode.ok])
  if (code !== exitCode.ok) {
    const why = wrong.length > 0 ? `${wrong.length} of ${findings.length} live servers would be lost to every client` : untrusted.length > 0 ? `${untrusted.length} of ${findings.length} live servers are not trusted` : `${unreachable.length} of ${findings.length} hosts cannot be reached (--allow-unreachable)`
    output.result({ signed: false, live: findings }, () => output.colors.red(`Not signed: ${why}.`))
  } else output.note(`${findings.filter(({ outcome }) => outcome === 'accepted').length} of ${findings.length} live servers are accepted by these pins.`)
  return code
}

function showFinding({ host, port, address, outcome, detail }: LiveFinding): string {
  return `${outcome.padEnd(11)} ${host}:${port}${address && address !== host ? ` (${address})` : ''}: ${showText(detail)}`
}

async function write(file: string, text: string): Promise<void> {
  try {
    const { default: writeFileAtomic } = await import('write-file-atomic')
    await writeFileAtomic(file, text, { mode: 0o644, fsync: true })
  } catch (cause) {
    throw new CommandError(`${showText(file)} cannot be written: ${explainWriteFailure(file, cause)}`, exitCode.usage, (cause as NodeJS.ErrnoException).code ?? 'ERR_USAGE', { cause })
  }
}
