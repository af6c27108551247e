import { existsSync, mkdirSync, readFileSync, readdirSync, readlinkSync, renameSync, statSync, symlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import writeFileAtomic from 'write-file-atomic'
import { CommandError, exitCode } from '../exit.js'
import { showText } from '../format.js'
import { isCertbotLive } from './lineage.js'
import type { LiveCertificate } from './lineage.js'

/**
 * Puts a certificate and its key where the server reads them: `fullchain.pem` and `privkey.pem` of a folder, each
 * replaced at once. Of one of certbot's `live` folders it becomes the next version, as certbot itself would have saved
 * it: `certbot renew --reuse-key` goes on with that key.
 */
export async function deploy({ certificateFile, keyFile }: LiveCertificate, folder: string): Promise<void> {
  if (keyFile === undefined) throw new CommandError('the key of the certificate was not found; right would be --key', exitCode.usage)
  const chain = readFileSync(certificateFile, 'latin1')
  const key = readFileSync(keyFile, 'latin1')
  if (isCertbotLive(folder)) {
    if (readFileSync(join(folder, 'fullchain.pem'), 'latin1') === chain) return
    return saveVersion(folder, chain, key)
  }
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  await writeFileAtomic(join(folder, 'privkey.pem'), key, { mode: 0o600 })
  await writeFileAtomic(join(folder, 'fullchain.pem'), chain, { mode: 0o644 })
}

/**
 * Takes a certificate out of one of certbot's `live` folders: the youngest earlier version that `isGood` becomes the next
 * version. (Pointing the links back would not do: at its next start certbot points them to the youngest.)
 *
 * @returns that earlier version's number; `undefined` when there is none
 */
export async function rollBack(folder: string, isGood: (chainFile: string) => boolean): Promise<number | undefined> {
  const { archive, version } = currentVersion(folder)
  for (let earlier = version - 1; earlier > 0; earlier--) {
    const chainFile = join(archive, `fullchain${earlier}.pem`)
    const keyFile = join(archive, `privkey${earlier}.pem`)
    if (!existsSync(chainFile) || !existsSync(keyFile) || !isGood(chainFile)) continue
    await saveVersion(folder, readFileSync(chainFile, 'latin1'), readFileSync(keyFile, 'latin1'))
    return earlier
  }
  return undefined
}

// The key first: a server that is started between two of the links fails, rather than serving a wrong certificate.
const kinds = ['privkey', 'cert', 'chain', 'fullchain'] as const

async function saveVersion(folder: string, chainText: string, key: string): Promise<void> {
  const { archive } = currentVersion(folder)
  const version = 1 + Math.max(0, ...readdirSync(archive).map((name) => Number(/^(?:privkey|cert|chain|fullchain)(\d+)\.pem$/.exec(name)?.[1] ?? 0)))
  const blocks = chainText.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) as string[]
  const texts = { privkey: key, cert: `${blocks[0]}\n`, chain: `${blocks.slice(1).join('\n')}\n`, fullchain: `${blocks.join('\n')}\n` }
  const { mode } = statSync(join(folder, 'privkey.pem'))
  for (const kind of kinds) await writeFileAtomic(join(archive, `${kind}${version}.pem`), texts[kind], { mode: kind === 'privkey' ? mode & 0o777 : 0o644 })
  for (const kind of kinds) pointTo(folder, kind, version)
}

/** @throws {CommandError} when the links are not certbot's */
function currentVersion(folder: string): { archive: string; version: number } {
  const target = resolve(folder, readlinkSync(join(folder, 'fullchain.pem')))
  const version = Number(/fullchain(\d+)\.pem$/.exec(target)?.[1])
  if (!Number.isSafeInteger(version)) throw new CommandError(`${showText(folder)} does not look like one of certbot's live folders`, exitCode.usage, 'ERR_INPUT')
  return { archive: dirname(target), version }
}

function pointTo(folder: string, kind: (typeof kinds)[number], version: number): void {
  const link = join(folder, `${kind}.pem`)
  const target = readlinkSync(link).replace(/\d+\.pem$/, `${version}.pem`)
  const temporary = `${link}.${process.pid}.new`
  symlinkSync(target, temporary)
  renameSync(temporary, link)
}

