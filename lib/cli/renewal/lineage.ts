import { X509Certificate } from 'node:crypto'
import { existsSync, lstatSync, readdirSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { basename, join } from 'node:path'
import { PolicyInvalidError } from '../../errors.js'
import { readFileBytes } from '../../formats/text-file.js'
import { CommandError, exitCode } from '../exit.js'
import { showText } from '../format.js'
import { maxInputBytes } from '../input.js'

/** A certificate as an ACME client has saved it. */
export interface LiveCertificate {
  readonly folder: string
  readonly certificateFile: string
  /** `undefined` where the key is not beside it. */
  readonly keyFile: string | undefined
  /** Leaf first. */
  readonly chain: readonly X509Certificate[]
}

/**
 * Finds the certificate of a host where certbot (`live/<name>`), lego (`certificates`), acme.sh (`~/.acme.sh`) or Caddy (its
 * storage) keep it: `folder` may be that very folder, or the one above. Of several the youngest counts.
 *
 * @param host without it any certificate will do, and the only one of the folders below, where there is none in it
 * @throws {CommandError} exit code 64 when there is none
 */
export function findLive(folder: string, host: string | undefined): LiveCertificate {
  if (!isFolder(folder)) throw new CommandError(`${showText(folder)} is not a folder`, exitCode.usage, 'ERR_INPUT')
  const folders = foldersIn(folder, host)
  const [youngest] = certificatesIn(folders, host)
  if (youngest) return youngest
  if (host === undefined) {
    const below = certificatesIn(folders.flatMap(foldersBelow), undefined)
    const names = [...new Set(below.map((live) => basename(live.folder)))]
    if (names.length > 1) throw new CommandError(`${showText(folder)} holds the certificates of several names (${showText(names.slice(0, 3).join(', '))}${names.length > 3 ? ', …' : ''}); right would be --host, or the folder of one of them`, exitCode.usage, 'ERR_INPUT')
    if (below[0]) return below[0]
  }
  throw new CommandError(`${showText(folder)} holds no certificate${host === undefined ? '' : ` for ${showText(host)}`}; right would be certbot's live folder, lego's certificates, ~/.acme.sh or Caddy's storage`, exitCode.usage, 'ERR_INPUT')
}

/** The youngest first. */
function certificatesIn(folders: readonly string[], host: string | undefined): LiveCertificate[] {
  return folders
    .flatMap((each) => pairsIn(each).flatMap(({ certificate, key }) => readLive(each, join(each, certificate), existsSync(join(each, key)) ? join(each, key) : undefined) ?? []))
    .filter(({ chain: [leaf] }) => host === undefined || covers(leaf as X509Certificate, host))
    .sort((a, b) => Date.parse(b.chain[0]?.validFrom ?? '') - Date.parse(a.chain[0]?.validFrom ?? ''))
}

/** @throws {CommandError} exit code 64 when the file holds no certificates */
export function readChain(file: string): X509Certificate[] {
  try {
    const blocks = readFileBytes(file, maxInputBytes, 'certificate').toString('latin1').match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    if (blocks.length === 0) throw new Error('it holds no PEM certificate')
    return blocks.slice(0, 20).map((block) => new X509Certificate(block))
  } catch (cause) {
    const reason = cause instanceof PolicyInvalidError ? cause.reason : `${showText(file)} cannot be used as a certificate: ${(cause as Error).message}`
    throw new CommandError(reason, exitCode.usage, 'ERR_INPUT', { cause })
  }
}

/** Whether a certificate is for a host (`api.example.com`, an IP address, or a wildcard, which its names must contain). */
export function covers(certificate: X509Certificate, host: string): boolean {
  if (host.startsWith('*.')) return namesOf(certificate).includes(host.toLowerCase())
  return (isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host)) !== undefined
}

/** The DNS names and IP addresses of a certificate. */
export function namesOf(certificate: X509Certificate): string[] {
  return (certificate.subjectAltName ?? '').split(', ').flatMap((name) => /^(?:DNS|IP Address):([^"\s]+)$/.exec(name)?.[1]?.toLowerCase() ?? [])
}

/** Whether a folder is one of certbot's `live` ones: its files are links to versions in the archive. */
export function isCertbotLive(folder: string): boolean {
  try {
    return lstatSync(join(folder, 'fullchain.pem')).isSymbolicLink() && lstatSync(join(folder, 'privkey.pem')).isSymbolicLink()
  } catch {
    return false
  }
}

function foldersIn(folder: string, host: string | undefined): string[] {
  const names = host === undefined ? [] : [host, `${host}_ecc`, host.replace(/^\*/, 'wildcard_')]
  const below = (parent: string): string[] => [parent, ...names.map((name) => join(parent, name))]
  const storage = join(folder, 'certificates')
  const issuers = isFolder(storage) ? foldersBelow(storage) : []
  return [folder, storage, ...issuers].flatMap(below).filter(isFolder)
}

function foldersBelow(folder: string): string[] {
  return readdirSync(folder).slice(0, 1_000).map((name) => join(folder, name)).filter(isFolder)
}

function pairsIn(folder: string): Array<{ certificate: string; key: string }> {
  const pairs = [
    { certificate: 'fullchain.pem', key: 'privkey.pem' },
    { certificate: 'cert.pem', key: 'privkey.pem' }
  ]
  const files = readdirSync(folder)
  for (const key of files.filter((name) => name.endsWith('.key')).slice(0, 10_000)) {
    const stem = key.slice(0, -'.key'.length)
    pairs.push({ certificate: 'fullchain.cer', key }, { certificate: `${stem}.cer`, key }, { certificate: `${stem}.crt`, key })
  }
  const present = pairs.filter(({ certificate }) => files.includes(certificate))
  // The first of those with the same key: it holds the chain as well.
  return present.filter(({ key }, index) => present.findIndex((each) => each.key === key) === index)
}

function readLive(folder: string, certificateFile: string, keyFile: string | undefined): LiveCertificate | undefined {
  try {
    return { folder, certificateFile, keyFile, chain: readChain(certificateFile) }
  } catch {
    return undefined
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}
