/** Stands in for the addresses that libp2p keeps of a router or a name server: nobody maps one to a tab. */
class NoMappings {
  has(): boolean {
    return false
  }

  getAll(): [] {
    return []
  }
}

export { NoMappings as DNSMappings, NoMappings as IPMappings }
