import type { Command } from 'commander'
import { verifyManifest } from '../../update/manifest.js'
import { action, createCommand } from '../command.js'
import type { Run } from '../command.js'
import { CommandError, exitCode } from '../exit.js'
import { readInput } from '../input.js'
import { collect, parseWhole } from './arguments.js'
import { clientPolicies, warningsOf } from './client.js'
import { naming, readSigned } from './signed.js'
import { readTrust } from './signing-key.js'
import { describeSet } from './summary.js'

/** `manifest verify <file> --key …`: what a client would say of a set. */
export function verifyCommand(run: Run): Command {
  return createCommand('verify', 'Verify a signed pin set as a client does: signatures, form, dates, audience and pins. Exit code 1 when a client would refuse it.')
    .argument('<file>', 'the signed set, or - for standard input')
    .requiredOption('--key <file>', 'a trusted public key, PEM or JWK; can be given again', collect)
    .option('--threshold <number>', 'how many of the keys must have signed', parseWhole, 1)
    .option('--audience <name>', 'the client that it must be for (default: the one that it names)')
    .option('--after <version>', 'the version that the client has: no lower one is accepted', parseWhole)
    .action(
      action(run, async (output, file: string, options: { key: string[]; threshold: number; audience?: string; after?: number }) => {
        if (file === '-' && options.key.includes('-')) throw new CommandError('standard input cannot be both the set and a key', exitCode.usage)
        const trust = await readTrust(options.key, options.threshold, run.terminal)
        const text = (await readInput(file, run.terminal)).toString()
        const { payload, signatures } = await readSigned(text, file)
        const { audience = payload.audience, after } = options
        if (after !== undefined && payload.version < after) throw new CommandError(`its version ${payload.version} is lower than ${after}, which the client has`, exitCode.refused, 'ERR_PIN_UPDATE_REJECTED')
        const set = await naming(file, () => verifyManifest(text, { trust, audience, now: Date.now() }))
        const { version, expires, trust: next } = set
        const warnings = warningsOf(await naming(file, () => clientPolicies(set)))
        output.result({ verified: true, version, audience, expires: expires.toISOString(), hosts: Object.keys(payload.pins).length, trustedKeys: [...next.keys.keys()], warnings }, () => `${describeSet(payload, signatures, output.colors, Date.now())}\n\n${output.colors.green(`Verified: ${options.threshold} of ${trust.keys.size} trusted keys are needed, and have signed.`)}`)
        if (!output.json) for (const warning of warnings) output.note(`Warning: ${warning}`)
        return exitCode.ok
      })
    )
}
