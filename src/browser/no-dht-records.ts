/**
 * Stands in for the parts of kad-dht that keep and look for values and providers, and for that of libp2p which asks for
 * them: nodes use the DHT to find peers, and answer nothing else (src/dht/libp2p-services.ts).
 */

class Unused {}

/** `deserialize`: of a record in an answer, which nobody asked for. */
export const Libp2pRecord = { deserialize: () => undefined }

export {
  Unused as AddProviderHandler,
  Unused as CompoundContentRouting,
  Unused as ContentFetching,
  Unused as ContentRouting,
  Unused as GetProvidersHandler,
  Unused as GetValueHandler,
  Unused as Providers,
  Unused as PutValueHandler,
  Unused as Reprovider,
}
