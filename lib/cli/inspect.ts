import type { X509Certificate } from 'node:crypto'
import { stat } from 'node:fs/promises'
import type { Command } from 'commander'
import { PinInvalidError } from '../errors.js'
import { parseHostPattern } from '../pin/hostname.js'
import { openSealed, sealOf } from '../pin/sealed.js'
import { parseCertificate } from '../pin/spki.js'
import { explainFailure } from '../transport/failure.js'
import { inspectServer } from '../transport/inspect.js'
import type { Inspection } from '../transport/inspect.js'
import type { Trusts } from '../transport/trust.js'
import { buildChain, isInDate, servedAfter } from '../verify/chain.js'
import { detailsOf } from '../verify/details.js'
import type { CertificateDetails } from '../verify/details.js'
import { summarise } from '../verify/records.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { parseDuration } from './duration.js'
import { CommandError, exitCode } from './exit.js'
import { daysUntil, showText } from './format.js'
import { readInput } from './input.js'
import { describeInspection } from './inspection.js'
import type { Terminal } from './output.js'
import { passphraseHelp, readPassphrase } from './passphrase.js'
import { parseTarget, showTarget } from './target.js'
import { caHelp, caHint, proxyHelp, readProxyRoute, readServerName, readTrust } from './trust.js'

/** `inspect <host | URL | file>`: what a server shows of itself, and the policy that pins it. */
export function inspectCommand(run: Run): Command {
  return createCommand('inspect', 'Show the served and the verified chain of a server or a file, and the policy that pins it. Sends nothing but the TLS handshake.')
    .argument('<target>', 'api.example.com, api.example.com:8443, https://…, a file (PEM, DER or PKCS#12), or - for standard input')
    .option('--servername <name>', 'the name to ask for (SNI) and to look for in the certificate; default: the host')
    .option('--ca <file>', caHelp)
    .option('--proxy <url>', proxyHelp)
    .option('--no-proxy', 'go there directly, whatever the environment says')
    .option('--timeout <duration>', 'for the connection and the handshake', parseDuration, 10_000)
    .option('--passphrase-from <source>', passphraseHelp)
    .action(
      action(run, async (output, target: string, options: InspectOptions) => {
        const trusts = await readTrust(options.ca, run.terminal)
        const inspected = (await isFile(target)) ? await inspectFile(target, options, trusts, run.terminal) : await inspectHost(target, options, trusts)
        output.result(inspected, () => describeInspection(inspected, output.colors, Date.now(), caHint(inspected.untrusted ?? {}, options.ca !== undefined)))
        return inspected.server && !inspected.trusted ? exitCode.refused : exitCode.ok
      })
    )
}

interface InspectOptions {
  readonly servername?: string
  readonly ca?: string
  readonly proxy?: string | boolean
  readonly timeout: number
  readonly passphraseFrom?: string
}

/** The result, as `--json` prints it. */
export interface Inspected {
  readonly target: string
  /** Absent for a file. */
  readonly server?: { readonly host: string; readonly port: number; readonly serverName: string; readonly tlsVersion: string | undefined; readonly cipher: string | undefined; readonly keyExchange: string | undefined; readonly proxy?: string }
  readonly trusted: boolean
  /** Why PKI refuses it. */
  readonly untrusted?: { readonly code: string | undefined; readonly message: string }
  /** What was sent (or stood in the file), leaf first, unchecked. */
  readonly served: readonly Shown[]
  /** From the leaf to a trust anchor, each link checked; empty when there is no such chain. */
  readonly verified: readonly Shown[]
  /** A pins file with the leaf's key. Absent where pinning what is seen here would be a mistake. */
  readonly policy?: { readonly pins: Record<string, { readonly publicKeys: readonly string[]; readonly trust?: 'pin-only' }> }
}

export type Shown = CertificateDetails & { readonly daysLeft: number }

async function isFile(target: string): Promise<boolean> {
  if (target === '-' || /^(?:\.{0,2}\/|\w:\\)/.test(target)) return true
  return stat(target).then(() => true, () => false)
}

async function inspectHost(target: string, options: InspectOptions, trusts: Trusts): Promise<Inspected> {
  const { host, port } = parseTarget(target)
  const servername = readServerName(options.servername)
  const trust = trusts.general
  const seen = await inspectServer({ host, port, servername, timeoutMs: options.timeout, proxies: readProxyRoute(options.proxy) }, trust).catch((error: unknown) => {
    const { code } = error as { code?: string }
    const unknown = code === 'ENOTFOUND' && !target.includes('://') ? ', and no file either' : ''
    throw new CommandError(`${showTarget({ host, port })} cannot be inspected: ${explainFailure(error)}${unknown}`, exitCode.unreachable, code, { cause: error })
  })
  const { leaf, chainError, nameError, tlsVersion, cipher, keyExchange, serverName, proxy } = seen
  const untrusted = chainError ?? nameError
  const chain = buildChain(leaf, servedAfter(leaf), trust.anchors, Date.now())
  const policy = proposePolicy(showTarget({ host, port }), seen)
  return {
    target,
    server: { host, port, serverName, tlsVersion, cipher, keyExchange, ...(proxy !== undefined && { proxy }) },
    trusted: untrusted === undefined,
    ...(untrusted && { untrusted: { code: (untrusted as { code?: string }).code, message: untrusted.message } }),
    served: [leaf, ...servedAfter(leaf)].map(show),
    verified: (chain?.certificates ?? []).map(show),
    ...(policy && { policy })
  }
}

async function inspectFile(target: string, options: InspectOptions, trusts: Trusts, terminal: Terminal): Promise<Inspected> {
  const served = await readCertificates(target, options, terminal)
  const [leaf, ...rest] = served as [X509Certificate, ...X509Certificate[]]
  const chain = buildChain(leaf, rest, trusts.general.anchors, Date.now())
  const policy = policyOfFile(leaf)
  return {
    target,
    trusted: chain !== undefined,
    ...(chain === undefined && { untrusted: { code: undefined, message: isInDate(leaf, Date.now()) ? 'no chain leads from the first certificate to a trust anchor' : 'the first certificate is not in date' } }),
    served: served.map(show),
    verified: (chain?.certificates ?? []).map(show),
    ...(policy && { policy })
  }
}

async function readCertificates(file: string, { passphraseFrom }: InspectOptions, terminal: Terminal): Promise<X509Certificate[]> {
  if (file === '-' && passphraseFrom === 'stdin') throw new CommandError('standard input cannot be both the file and the passphrase', exitCode.usage)
  const bytes = await readInput(file, terminal)
  try {
    if (sealOf(bytes) === 'key store') return [openSealed(bytes, await readPassphrase(passphraseFrom, terminal)) as X509Certificate]
    const blocks = bytes.toString('latin1').match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g)
    return (blocks ?? [bytes]).map(parseCertificate)
  } catch (error) {
    if (!(error instanceof PinInvalidError)) throw error
    throw new CommandError(`${showText(file)}: ${error.reason}; of a key or a certificate request, axios-ssl-pinning pin shows the pin`, exitCode.usage, error.code, { cause: error })
  }
}

function show(certificate: X509Certificate): Shown {
  const details = detailsOf(certificate)
  return { ...details, daysLeft: daysUntil(details.validTo, Date.now()) }
}

/**
 * The leaf's key is pinned, since a certificate lives shorter. Of a peer that PKI refuses nothing is proposed, but for a
 * self-signed leaf that is otherwise in order: there the pin takes the place of a trust anchor.
 */
function proposePolicy(pattern: string, { leaf, chainError, nameError }: Inspection): Inspected['policy'] {
  const selfSigned = (chainError as { code?: string } | undefined)?.code === 'DEPTH_ZERO_SELF_SIGNED_CERT'
  if (nameError || (chainError && !(selfSigned && isInDate(leaf, Date.now())))) return undefined
  return policyOf(pattern, leaf, selfSigned)
}

/** Of a file, for the first of the names in its leaf. */
function policyOfFile(leaf: X509Certificate): Inspected['policy'] {
  const [, name] = /(?:DNS|IP Address):([^,"]+)/.exec(leaf.subjectAltName ?? '') ?? []
  if (leaf.ca || name === undefined) return undefined
  try {
    return policyOf(parseHostPattern(name, 'names').text, leaf, leaf.checkIssued(leaf))
  } catch {
    // A name that no pattern can have: "*.com", or what is no host at all.
    return undefined
  }
}

function policyOf(pattern: string, leaf: X509Certificate, selfSigned: boolean): Inspected['policy'] {
  const { pin } = summarise(leaf)
  return pin === undefined ? undefined : { pins: { [pattern]: { publicKeys: [pin], ...(selfSigned && { trust: 'pin-only' }) } } }
}
