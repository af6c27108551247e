import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { access, writeFile } from 'node:fs/promises'
import { Option } from 'commander'
import type { Command } from 'commander'
import { readPrivateKey } from '../../update/keys.js'
import type { SigningAlgorithm } from '../../update/keys.js'
import { action, createCommand } from '../command.js'
import type { Run } from '../command.js'
import { CommandError, exitCode } from '../exit.js'
import { showText } from '../format.js'
import { passphraseHelp, readPassphrase } from '../passphrase.js'
import { explainWriteFailure } from '../write-failure.js'

/** `manifest keygen <file>`: a key pair to sign pin sets with. */
export function keygenCommand(run: Run): Command {
  return createCommand('keygen', 'Make a key to sign pin sets with: the private key in <file> (mode 0600), the public one beside it in <file>.pub.')
    .argument('<file>', 'where the private key is written; never over a file that is there')
    .addOption(new Option('--algorithm <name>', 'ML-DSA needs Node 24.7 or later, for signing and for every client').choices(Object.keys(generators)).default('EdDSA'))
    .option('--passphrase-from <source>', `encrypt the private key; ${passphraseHelp}`)
    .action(
      action(run, async (output, file: string, options: { algorithm: SigningAlgorithm; passphraseFrom?: string }) => {
        const passphrase = await readPassphrase(options.passphraseFrom, run.terminal)
        if (passphrase?.length === 0) throw new CommandError('--passphrase-from: the passphrase is empty', exitCode.usage)
        const publicFile = `${file}.pub`
        for (const each of [file, publicFile]) {
          if (await access(each).then(() => true, () => false)) throw new CommandError(`${showText(each)} is there already, and a key is never overwritten`, exitCode.usage, 'EEXIST')
        }
        const { privateKey, publicKey } = generate(options.algorithm)
        const sealed = passphrase && { cipher: 'aes-256-cbc', passphrase: passphrase.toString() }
        const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
        await write(file, privateKey.export({ type: 'pkcs8', format: 'pem', ...sealed }), 0o600)
        await write(publicFile, pem, 0o644)
        const { id, algorithm } = readPrivateKey(privateKey, 'key')
        output.result({ algorithm, id, privateKey: file, publicKey: publicFile, pem, encrypted: passphrase !== undefined }, () => `${algorithm} key ${id}\nprivate: ${showText(file)}${passphrase ? ', encrypted' : ''}\npublic:  ${showText(publicFile)}, for trustedKeys:\n\n${pem.trimEnd()}`)
        if (!passphrase && !output.json) output.note('The private key is not encrypted; keep it where nobody else can read it, or make it with --passphrase-from.')
        return exitCode.ok
      })
    )
}

const generators: Record<SigningAlgorithm, () => { publicKey: KeyObject; privateKey: KeyObject }> = {
  EdDSA: () => generateKeyPairSync('ed25519'),
  ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'ML-DSA-44': () => generateKeyPairSync('ml-dsa-44'),
  'ML-DSA-65': () => generateKeyPairSync('ml-dsa-65')
}

function generate(algorithm: SigningAlgorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  try {
    return generators[algorithm]()
  } catch (cause) {
    throw new CommandError(`this Node (${process.version}) has no ${algorithm}; right would be Node 24.7 or later, or another algorithm`, exitCode.usage, 'ERR_USAGE', { cause })
  }
}

async function write(file: string, content: string | Buffer, mode: number): Promise<void> {
  try {
    await writeFile(file, content, { flag: 'wx', mode, flush: true })
  } catch (cause) {
    throw new CommandError(`${showText(file)} cannot be written: ${explainWriteFailure(file, cause)}`, exitCode.usage, (cause as NodeJS.ErrnoException).code ?? 'ERR_USAGE', { cause })
  }
}
